use std::collections::HashMap;

use agentex_authz::{AuthzError, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope, Selectors};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::Value;
use url::Url;

use crate::answer;
use crate::wire::{Answer, Fault, Repeat, SetupError, Wire};

/// The calls every permission service of this kind has, over one wire.
pub(crate) struct Calls {
    wire: Wire,
    check: Url,
    search: Url,
    operation_names: HashMap<Operation, String>,
    max_list_ids: usize,
}

/// What a call is about, for the log: everything but who asks.
#[derive(Clone, Copy)]
pub(crate) struct About<'a> {
    pub(crate) verb: &'static str,
    pub(crate) operation: Option<Operation>,
    pub(crate) kind: ResourceKind,
    pub(crate) selector: Option<&'a str>,
    pub(crate) parent: Option<&'a ResourceRef>,
}

impl<'a> About<'a> {
    pub(crate) fn resource(verb: &'static str, operation: Option<Operation>, resource: &'a ResourceRef) -> Self {
        Self { verb, operation, kind: resource.kind, selector: Some(&resource.selector), parent: None }
    }
}

#[derive(Serialize)]
struct OnResource<'a> {
    principal: &'a Value,
    resource: &'a ResourceRef,
    operation: &'a str,
}

#[derive(Serialize)]
struct Search<'a> {
    principal: &'a Value,
    filter_resource: ResourceKind,
    filter_operation: &'a str,
}

enum Outcome {
    Body(Vec<u8>),
    Forbidden,
}

impl Calls {
    pub(crate) fn new(
        wire: Wire,
        [check, search]: [&str; 2],
        operation_names: HashMap<Operation, String>,
        max_list_ids: usize,
    ) -> Result<Self, SetupError> {
        let (check, search) = (wire.endpoint(check)?, wire.endpoint(search)?);
        Ok(Self { wire, check, search, operation_names, max_list_ids })
    }

    pub(crate) fn wire(&self) -> &Wire {
        &self.wire
    }

    pub(crate) async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        let Some(identity) = identity(principal) else { return Ok(Decision::Deny) };
        let body = OnResource { principal: identity, resource, operation: self.name(operation) };
        let about = About::resource("check", Some(operation), resource);
        let decided = match self.ask(&self.check, about, &body, Repeat::Once).await? {
            Outcome::Forbidden => Ok(Decision::Deny),
            Outcome::Body(body) => answer::decision(&body),
        };
        decided.map_err(|fault| failed(about, fault))
    }

    pub(crate) async fn search(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        let nothing = Scope::Only(Selectors::default());
        let Some(identity) = identity(principal) else { return Ok(nothing) };
        let body = Search { principal: identity, filter_resource: kind, filter_operation: self.name(operation) };
        let about = About { verb: "search", operation: Some(operation), kind, selector: None, parent: None };
        let found = match self.ask(&self.search, about, &body, Repeat::Once).await? {
            Outcome::Forbidden => Ok(nothing),
            Outcome::Body(body) => answer::scope(&body, self.max_list_ids),
        };
        found.map_err(|fault| failed(about, fault))
    }

    /// A grant or revoke at `endpoint`.
    pub(crate) async fn edge(
        &self,
        endpoint: &Url,
        verb: &'static str,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        let identity = identity(principal).ok_or(AuthzError::Refused)?;
        let body = OnResource { principal: identity, resource, operation: self.name(operation) };
        self.write(endpoint, About::resource(verb, Some(operation), resource), &body).await
    }

    /// A write of any shape at `endpoint`, sent once.
    pub(crate) async fn write(
        &self,
        endpoint: &Url,
        about: About<'_>,
        body: &(impl Serialize + Sync),
    ) -> Result<(), AuthzError> {
        let body = match self.ask(endpoint, about, body, Repeat::Never).await? {
            Outcome::Forbidden => return Err(AuthzError::Refused),
            Outcome::Body(body) => body,
        };
        if answer::written(&body).map_err(|fault| failed(about, fault))? {
            Ok(())
        } else {
            let source = "the service answered that the write was not made";
            tracing::warn!(authz.verb = about.verb, resource.type = %about.kind, resource.selector = about.selector, source);
            Err(AuthzError::Gateway(source.into()))
        }
    }

    async fn ask(
        &self,
        endpoint: &Url,
        about: About<'_>,
        body: &(impl Serialize + Sync),
        repeat: Repeat,
    ) -> Result<Outcome, AuthzError> {
        tracing::debug!(
            authz.verb = about.verb,
            authz.operation = about.operation.map(Operation::as_str),
            resource.type = %about.kind,
            resource.selector = about.selector,
            resource.parent = about.parent.map(tracing::field::display),
            "asking the permission service"
        );
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let body = serde_json::to_vec(body).expect("JSON values and strings always serialize");
        match self.wire.post(endpoint, headers, body, repeat).await {
            Ok(Answer::Ok(body)) => Ok(Outcome::Body(body)),
            Ok(Answer::Other(http::StatusCode::FORBIDDEN)) => Ok(Outcome::Forbidden),
            Ok(Answer::Other(status)) => Err(failed(about, Fault::Status(status))),
            Err(fault) => Err(failed(about, fault)),
        }
    }

    fn name(&self, operation: Operation) -> &str {
        self.operation_names.get(&operation).map_or_else(|| operation.as_str(), String::as_str)
    }
}

/// The object a service is asked with; `None` for nobody, who is denied everything without asking.
pub(crate) fn identity(principal: &Principal) -> Option<&Value> {
    Some(principal.as_json()).filter(|json| json.is_object())
}

fn failed(about: About<'_>, fault: Fault) -> AuthzError {
    tracing::warn!(
        authz.verb = about.verb,
        authz.operation = about.operation.map(Operation::as_str),
        resource.type = %about.kind,
        resource.selector = about.selector,
        error.kind = fault.kind(),
        error.status = fault.status(),
        error = &fault as &(dyn std::error::Error + 'static),
        "permission service gave no usable answer"
    );
    fault.into()
}
