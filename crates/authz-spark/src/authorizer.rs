use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Mutex;

use agentex_authz::model::{SCHEMA, Schema, definition_of};
use agentex_authz::{Authorizer, AuthzError, Check, Decision, Operation, Principal, ResourceKind, ResourceRef, Scope};
use async_trait::async_trait;
use spicedb_grpc_tonic::v1::{
    CheckBulkPermissionsPair, CheckBulkPermissionsRequestItem, Consistency, LookupPermissionship,
    LookupResourcesRequest, ObjectReference, Precondition, RelationshipUpdate,
    check_bulk_permissions_pair::Response as Answer, check_permission_response::Permissionship,
};
use tonic::{Code, Status};

use crate::client::Client;
use crate::failure::{from_code, from_status, protocol};
use crate::freshness::{self, Freshness};
use crate::ids;
use crate::registration::Registration;
use crate::relationships::{self as edges, Caller};
use crate::settings::{InvalidSettings, SparkSettings};

/// Questions per call; SpiceDB takes ten times as many, in messages that grow too large.
const CHECKS_PER_CALL: usize = 1_000;
const LOOKUP_PAGE: u32 = 1_000;
/// How often a write starts over whose precondition was not met, although nothing is found to be in the way.
pub(crate) const ATTEMPTS: u32 = 10;
/// Accounts remembered as open. Forgetting one costs a write that changes nothing.
const REMEMBERED_ACCOUNTS: usize = 10_000;

/// Permissions in a SpiceDB that holds the schema of agentex.
///
/// An account without any relationship admits whoever acts in it, and the first resource or check that needs it makes
/// that an explicit relationship. Where the account was given members before that, only they are admitted.
///
/// Registering states an owner, an account and a parent; a resource that has another one already is refused.
pub struct SparkAuthorizer {
    pub(crate) client: Client,
    pub(crate) freshness: Freshness,
    schema: Schema,
    max_list_ids: usize,
    opened: Mutex<HashSet<String>>,
}

impl SparkAuthorizer {
    /// An authorizer that connects when it is first used: a SpiceDB that is down now is an error of the calls, not of
    /// this. Call it inside a Tokio runtime.
    ///
    /// # Errors
    /// The settings cannot be used, whatever the network does.
    pub fn new(settings: &SparkSettings) -> Result<Self, InvalidSettings> {
        Ok(Self {
            client: Client::new(settings)?,
            freshness: Freshness::default(),
            schema: Schema::parse(SCHEMA).expect("a test of the model parses this very text"),
            max_list_ids: settings.max_list_ids,
            opened: Mutex::default(),
        })
    }

    async fn ask(&self, caller: &Caller<'_>, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        let questions: Vec<_> = checks.iter().map(|check| caller.question(&self.schema, check)).collect();
        let distinct: HashSet<_> = questions.iter().flatten().cloned().collect();
        let items: Vec<_> = distinct.into_iter().map(|question| item(caller, question)).collect();
        let reads = checks.iter().all(|check| check.operation == Operation::Read);
        let consistency = self.consistency(reads);
        let mut answers = HashMap::new();
        for chunk in items.chunks(CHECKS_PER_CALL) {
            let pairs = self.client.check(chunk.to_vec(), consistency.clone()).await.map_err(from_status)?;
            for pair in pairs {
                let (question, decision) = answer(pair)?;
                answers.insert(question, decision);
            }
        }
        let decide = |question: Option<(ObjectReference, &str)>| match question {
            None => Ok(Decision::Deny),
            Some((object, permission)) => {
                let answer = answers.get(&(object, permission.to_owned())).copied();
                answer.ok_or_else(|| protocol("SpiceDB left a question open"))
            }
        };
        questions.into_iter().map(decide).collect()
    }

    /// What changes something is decided on the newest state, which has what other processes wrote.
    fn consistency(&self, reads: bool) -> Consistency {
        if reads { self.freshness.of_read() } else { freshness::newest() }
    }

    /// Whether it is known already who belongs to the account.
    fn is_open(&self, caller: &Caller<'_>) -> bool {
        self.opened.lock().expect("nothing panics while it holds the set").contains(caller.account_id)
    }

    /// Makes everybody who acts in the account a member of it, unless somebody said before who belongs to it.
    async fn open_account(&self, caller: &Caller<'_>) -> Result<(), AuthzError> {
        let settled = edges::everything(&caller.account);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let updates = edges::open_account(&caller.account, caller.account_id).into();
            match self.write(updates, vec![edges::must_not_exist(settled.clone())]).await {
                Ok(()) => break,
                Err(status) if status.code() == Code::FailedPrecondition => {
                    // Without the schema both fail so, and this one says it.
                    if self.client.exists(settled.clone()).await.map_err(from_status)? {
                        break;
                    }
                    // What was in the way is gone, or was too new to be seen.
                    if attempt == ATTEMPTS {
                        return Err(AuthzError::Busy(status.into()));
                    }
                }
                Err(status) => return Err(from_status(status)),
            }
        }
        let mut opened = self.opened.lock().expect("nothing panics while it holds the set");
        if opened.len() >= REMEMBERED_ACCOUNTS {
            opened.clear();
        }
        opened.insert(caller.account_id.to_owned());
        Ok(())
    }

    pub(crate) async fn write(
        &self,
        updates: Vec<RelationshipUpdate>,
        preconditions: Vec<Precondition>,
    ) -> Result<(), Status> {
        let write = self.freshness.begin_write();
        let token = self.client.write(updates, preconditions).await?;
        write.done(token);
        Ok(())
    }
}

impl std::fmt::Debug for SparkAuthorizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SparkAuthorizer").finish_non_exhaustive()
    }
}

fn item(caller: &Caller<'_>, (object, permission): (ObjectReference, &str)) -> CheckBulkPermissionsRequestItem {
    CheckBulkPermissionsRequestItem {
        resource: Some(object),
        permission: permission.to_owned(),
        subject: Some(caller.subject.clone()),
        context: Some(edges::acting_in(caller.account_id)),
    }
}

/// The question that is echoed in an answer, and the decision on it.
fn answer(pair: CheckBulkPermissionsPair) -> Result<((ObjectReference, String), Decision), AuthzError> {
    let question = pair.request.and_then(|request| Some((request.resource?, request.permission)));
    let question = question.ok_or_else(|| protocol("SpiceDB answered without a question"))?;
    match pair.response {
        // Conditional means that something we do not know decides: no.
        Some(Answer::Item(item)) => match item.permissionship() {
            Permissionship::HasPermission => Ok((question, Decision::Allow)),
            Permissionship::NoPermission | Permissionship::ConditionalPermission => Ok((question, Decision::Deny)),
            Permissionship::Unspecified => Err(protocol("SpiceDB gave no decision")),
        },
        Some(Answer::Error(error)) => Err(from_code(Code::from_i32(error.code), error.message.into())),
        None => Err(protocol("SpiceDB gave no decision")),
    }
}

#[async_trait]
impl Authorizer for SparkAuthorizer {
    async fn check(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<Decision, AuthzError> {
        let check = Check { operation, resource: resource.clone() };
        let decisions = self.check_many(principal, std::slice::from_ref(&check)).await?;
        decisions.first().copied().ok_or_else(|| protocol("SpiceDB left a question open"))
    }

    #[tracing::instrument(name = "authz.spark.check", skip_all, fields(checks = checks.len()))]
    async fn check_many(&self, principal: &Principal, checks: &[Check]) -> Result<Vec<Decision>, AuthzError> {
        let Some(caller) = Caller::of(principal) else { return Ok(vec![Decision::Deny; checks.len()]) };
        let decisions = self.ask(&caller, checks).await?;
        let may_not_create = |(check, decision): (&Check, &Decision)| {
            *decision == Decision::Deny && check.operation == Operation::Create && check.resource.selector == "*"
        };
        if checks.iter().zip(&decisions).any(may_not_create) && !self.is_open(&caller) {
            // Without this the first resource, whose registration opens the account, could never be created.
            self.open_account(&caller).await?;
            return self.ask(&caller, checks).await;
        }
        Ok(decisions)
    }

    #[tracing::instrument(name = "authz.spark.list", skip_all, fields(%kind, %operation))]
    async fn list_resources(
        &self,
        principal: &Principal,
        kind: ResourceKind,
        operation: Operation,
    ) -> Result<Scope, AuthzError> {
        let mut found = BTreeSet::new();
        let (definition, permission) = (definition_of(kind), operation.as_str());
        let caller = Caller::of(principal).filter(|_| edges::has(&self.schema, definition, permission));
        let Some(caller) = caller else { return Ok(Scope::Only(found.into())) };
        let mut request = LookupResourcesRequest {
            consistency: Some(self.consistency(operation == Operation::Read)),
            resource_object_type: definition.to_owned(),
            permission: permission.to_owned(),
            subject: Some(caller.subject.clone()),
            context: Some(edges::acting_in(caller.account_id)),
            optional_limit: LOOKUP_PAGE,
            optional_cursor: None,
        };
        loop {
            let page = self.client.lookup(&request).await.map_err(from_status)?;
            let is_last = page.len() < LOOKUP_PAGE as usize;
            request.optional_cursor = page.last().and_then(|answer| answer.after_result_cursor.clone());
            for answer in page {
                if answer.permissionship() == LookupPermissionship::HasPermission {
                    let id = ids::decode(&answer.resource_object_id);
                    found.insert(id.ok_or_else(|| protocol("SpiceDB holds an id that is not ours"))?);
                }
            }
            if found.len() > self.max_list_ids {
                return Err(protocol("more resources than a list may have"));
            }
            if is_last {
                return Ok(Scope::Only(found.into()));
            }
            if request.optional_cursor.is_none() {
                return Err(protocol("SpiceDB gave no cursor"));
            }
        }
    }

    #[tracing::instrument(name = "authz.spark.register", skip_all, fields(%resource))]
    async fn register(
        &self,
        owner: &Principal,
        resource: &ResourceRef,
        parent: Option<ResourceRef>,
    ) -> Result<(), AuthzError> {
        let caller = Caller::of(owner)
            .ok_or_else(|| protocol("the owner is not exactly one user or service account in an account"))?;
        let registration = Registration::new(&caller, resource, parent)?;
        if !self.is_open(&caller) {
            self.open_account(&caller).await?;
        }
        registration.write(self).await
    }

    #[tracing::instrument(name = "authz.spark.deregister", skip_all, fields(%resource))]
    async fn deregister(&self, _principal: &Principal, resource: &ResourceRef) -> Result<(), AuthzError> {
        let object = edges::resource(resource)?;
        let write = self.freshness.begin_write();
        let token = self.client.delete(edges::everything(&object)).await.map_err(from_status)?;
        write.done(token);
        Ok(())
    }

    #[tracing::instrument(name = "authz.spark.grant", skip_all, fields(%resource, %operation))]
    async fn grant(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        let (object, role, subject) = edges::role(principal, operation, resource)?;
        self.write(vec![edges::touch(&object, role, subject)], Vec::new()).await.map_err(from_status)
    }

    #[tracing::instrument(name = "authz.spark.revoke", skip_all, fields(%resource, %operation))]
    async fn revoke(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: &ResourceRef,
    ) -> Result<(), AuthzError> {
        let (object, role, subject) = edges::role(principal, operation, resource)?;
        self.write(vec![edges::removal(&object, role, subject)], Vec::new()).await.map_err(from_status)
    }
}
