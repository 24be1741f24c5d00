use std::sync::Arc;

use agentex_app::{AccessQuestion, AccessSubject, App};
use agentex_authz::{Operation, ResourceKind, ResourceRef};
use axum::Json;
use axum::extract::State;
use utoipa::IntoParams;

use crate::bodies::access::AccessBody;
use crate::bodies::errors::MessageBody;
use crate::error::ApiError;
use crate::extract::{ApiQuery, Authenticated, QueryParams, QueryReader, can_name};

const KINDS: [ResourceKind; 4] =
    [ResourceKind::Agent, ResourceKind::Task, ResourceKind::ApiKey, ResourceKind::Schedule];
const OPERATIONS: [(&str, Operation); 6] = [
    ("create", Operation::Create),
    ("read", Operation::Read),
    ("update", Operation::Update),
    ("delete", Operation::Delete),
    ("execute", Operation::Execute),
    ("cancel", Operation::Cancel),
];
const NOT_A_RESOURCE: &str = "String should be a kind (agent, task, api_key or schedule), a colon and an id";

/// A decision to explain.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExplainQuery {
    /// The resource: its kind, a colon and its id, for example `task:ID`. For `create` the id is `*`.
    #[param(value_type = String)]
    resource: ResourceRef,
    /// One of create, read, update, delete, execute, cancel.
    #[param(value_type = String)]
    operation: Operation,
    /// Whose permission, by user id; the caller's own unless given.
    user_id: Option<String>,
    /// Whose permission, by service-account id; the caller's own unless given.
    service_account_id: Option<String>,
}

impl QueryParams for ExplainQuery {
    fn read(query: &mut QueryReader<'_>) -> Option<Self> {
        let resource = query.required_identifier("resource").map(resource);
        if let Some(None) = resource {
            query.problem("resource", NOT_A_RESOURCE);
        }
        let operation = query.required_identifier("operation").is_some();
        let operation = operation.then(|| query.choice("operation", &OPERATIONS)).flatten();
        let user_id = query.identifier("user_id").map(str::to_owned);
        let service_account_id = query.identifier("service_account_id").map(str::to_owned);
        if user_id.is_some() && service_account_id.is_some() {
            query.problem("service_account_id", "Only one of user_id and service_account_id should be given");
        }
        Some(Self { resource: resource??, operation: operation?, user_id, service_account_id })
    }
}

impl From<ExplainQuery> for AccessQuestion {
    fn from(query: ExplainQuery) -> Self {
        let ExplainQuery { resource, operation, user_id, service_account_id } = query;
        let user = user_id.map(AccessSubject::User);
        Self { resource, operation, subject: user.or(service_account_id.map(AccessSubject::ServiceAccount)) }
    }
}

fn resource(text: &str) -> Option<ResourceRef> {
    let (kind, selector) = text.split_once(':')?;
    let kind = KINDS.into_iter().find(|known| known.as_str() == kind)?;
    let names = selector == "*" || (!selector.is_empty() && can_name(selector));
    names.then(|| ResourceRef { kind, selector: selector.to_owned() })
}

/// Explain a decision about permissions.
///
/// Callers are told why they themselves may do something with what they may read, and, of what they may delete, why
/// somebody else may. Agents are told nothing.
#[utoipa::path(
    get,
    path = "/authz/explain",
    operation_id = "explain_access_authz_explain_get",
    tag = "Authorization",
    params(ExplainQuery),
    responses(
        (status = 200, description = "The decision and how it comes about.", body = AccessBody),
        (status = 404, description = "It does not exist, or the caller may not see it.", body = MessageBody)
    )
)]
pub(crate) async fn explain(
    State(app): State<Arc<App>>,
    Authenticated(caller): Authenticated,
    query: ApiQuery,
) -> Result<Json<AccessBody>, ApiError> {
    let question = query.read::<ExplainQuery>()?.into();
    Ok(Json(app.access.explain(&caller, question).await?.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_is_a_kind_and_an_id() {
        assert_eq!(resource("task:a:b"), Some(ResourceRef::task("a:b")));
        assert_eq!(resource("agent:*"), Some(ResourceRef::any(ResourceKind::Agent)));
        for bad in ["", "task", "task:", "Task:a", "message:a", ":a", "task:a\nb"] {
            assert_eq!(resource(bad), None, "{bad:?}");
        }
    }
}
