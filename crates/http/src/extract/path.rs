use agentex_app::{Absent, AgentSelector, Error, ScheduleHandle, TaskSelector};
use agentex_domain::input::HAS_NUL;
use agentex_domain::{
    AgentId, ApiKeyId, DeploymentHistoryId, DeploymentId, EventId, MessageId, SpanId, StateId, TaskId, TrackerId,
};
use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use super::can_name;
use crate::error::ApiError;

/// The agent a path names, by `agent_id` or by `agent_name`.
pub(crate) struct AgentPath(pub(crate) AgentSelector);

/// The deployment a path names, below its agent.
pub(crate) struct DeploymentPath(pub(crate) DeploymentAddress);

/// How a path addresses a deployment.
pub(crate) struct DeploymentAddress {
    pub(crate) agent: AgentId,
    pub(crate) deployment: DeploymentId,
}

/// The entry of the deployment history a path names.
pub(crate) struct DeploymentHistoryPath(pub(crate) DeploymentHistoryId);

/// The task a path names, by `task_id` or by `task_name`.
pub(crate) struct TaskPath(pub(crate) TaskSelector);

/// The task a path names by id, which the use case looks for.
pub(crate) struct TaskIdPath(pub(crate) TaskId);

/// The message a path names.
pub(crate) struct MessagePath(pub(crate) MessageId);

/// The span a path names.
pub(crate) struct SpanPath(pub(crate) SpanId);

/// The state a path names.
pub(crate) struct StatePath(pub(crate) StateId);

/// The event a path names.
pub(crate) struct EventPath(pub(crate) EventId);

/// The tracker a path names.
pub(crate) struct TrackerPath(pub(crate) TrackerId);

/// The API key a path names by id. Which text says that there is none depends on who asks, so the use case says it.
pub(crate) struct ApiKeyPath(pub(crate) ApiKeyId);

/// The name of an API key at the end of a path, slashes included.
pub(crate) struct ApiKeyNamePath(pub(crate) String);

/// The name of a workflow query at the end of a path.
pub(crate) struct QueryPath(pub(crate) String);

/// The agent whose schedules a path names.
pub(crate) struct SchedulesPath(pub(crate) AgentId);

/// A schedule by its handle.
pub(crate) struct SchedulePath(pub(crate) (AgentId, ScheduleHandle));

/// A schedule by its name.
pub(crate) struct NamedSchedulePath(pub(crate) (AgentId, ScheduleHandle));

impl<S: Send + Sync> FromRequestParts<S> for SchedulesPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(AgentId::from(id(parts, state, "agent_id").await?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SchedulePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let agent = AgentId::from(id(parts, state, "agent_id").await?);
        let handle = text(parts, state, "schedule_id").await?.ok_or(NO_PARAMETER)?;
        Ok(Self((agent, ScheduleHandle::Handle(handle))))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for NamedSchedulePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let agent = AgentId::from(id(parts, state, "agent_id").await?);
        let name = text(parts, state, "name").await?.ok_or(NO_PARAMETER)?;
        Ok(Self((agent, ScheduleHandle::Name(name))))
    }
}

/// How a path addresses something.
enum Address {
    Id(String),
    Name(String),
}

impl<S: Send + Sync> FromRequestParts<S> for AgentPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(match address(parts, state, "agent_id", "agent_name").await? {
            Address::Id(id) => AgentSelector::Id(AgentId::from(id)),
            Address::Name(name) => AgentSelector::Name(name),
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeploymentPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let agent = text(parts, state, "agent_id").await?.ok_or(NO_PARAMETER)?;
        let deployment = text(parts, state, "deployment_id").await?.ok_or(NO_PARAMETER)?;
        if can_name(&agent) {
            Ok(Self(DeploymentAddress { agent: AgentId::from(agent), deployment: DeploymentId::from(deployment) }))
        } else {
            Err(Error::NotFound(Absent::DeploymentOfAgent { deployment, agent }).into())
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for DeploymentHistoryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let id = text(parts, state, "deployment_id").await?.ok_or(NO_PARAMETER)?;
        Ok(Self(DeploymentHistoryId::from(id)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(match address(parts, state, "task_id", "task_name").await? {
            Address::Id(id) => TaskSelector::Id(TaskId::from(id)),
            Address::Name(name) => TaskSelector::Name(name),
        }))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TaskIdPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(TaskId::from(id(parts, state, "task_id").await?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for MessagePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(MessageId::from(id(parts, state, "message_id").await?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for SpanPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(SpanId::from(id(parts, state, "span_id").await?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for StatePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(StateId::from(id(parts, state, "state_id").await?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for EventPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(EventId::from(id(parts, state, "event_id").await?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TrackerPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(TrackerId::from(id(parts, state, "tracker_id").await?)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiKeyPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        text(parts, state, "id").await?.map(|id| Self(ApiKeyId::from(id))).ok_or(NO_PARAMETER)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ApiKeyNamePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let name = text(parts, state, "name").await?.ok_or(NO_PARAMETER)?;
        if can_name(&name) { Ok(Self(name)) } else { Err(Error::NotFound(Absent::ApiKey).into()) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for QueryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        text(parts, state, "query_name").await?.map(Self).ok_or(NO_PARAMETER)
    }
}

const NO_PARAMETER: ApiError = ApiError::Bug("the route's template lacks the parameter its handler reads");

async fn address<S: Send + Sync>(parts: &mut Parts, state: &S, id: &str, name: &str) -> Result<Address, ApiError> {
    if let Some(id) = text(parts, state, id).await? {
        return if can_name(&id) { Ok(Address::Id(id)) } else { Err(Error::NotFound(Absent::Id(id)).into()) };
    }
    let name = text(parts, state, name).await?.ok_or(NO_PARAMETER)?;
    if can_name(&name) { Ok(Address::Name(name)) } else { Err(Error::NotFound(Absent::Name(name)).into()) }
}

/// The id that the path parameter `name` holds.
async fn id<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<String, ApiError> {
    let id = text(parts, state, name).await?.ok_or(NO_PARAMETER)?;
    if can_name(&id) { Ok(id) } else { Err(Error::NotFound(Absent::Id(id)).into()) }
}

/// One decoded path parameter; `None` when the template has none of this name.
async fn text<S: Send + Sync>(parts: &mut Parts, state: &S, name: &str) -> Result<Option<String>, ApiError> {
    let undecodable = |_| ApiError::problem("path", "Input should be valid percent-encoded UTF-8");
    let params = RawPathParams::from_request_parts(parts, state).await.map_err(undecodable)?;
    let Some((_, value)) = params.iter().find(|(key, _)| *key == name) else { return Ok(None) };
    if value.contains('\0') {
        return Err(ApiError::problem(&format!("path.{name}"), HAS_NUL));
    }
    Ok(Some(value.to_owned()))
}
