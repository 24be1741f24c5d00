use agentex_app::{BuildRegistered, RegisterAgent, RegisterBuild, Registered};
use agentex_authz::Principal;
use agentex_domain::input::{self, Fields};
use agentex_domain::{
    AcpType, Agent, AgentId, AgentInputType, AgentName, AgentStatus, JsonObject, Registration, Timestamp,
};
use serde::Serialize;
use utoipa::ToSchema;

use super::words;
use crate::extract::{IdentifierFields as _, RequestBody};

words!(AgentStatusWords, "AgentStatus", "Whether an agent can be called.", AgentStatus::ALL.map(|(word, _)| word));
words!(
    AcpTypeWords,
    "ACPType",
    "How an agent takes work; `agentic` is the old spelling of `async`.",
    AcpType::ALL.map(|(word, _)| word)
);
words!(
    AgentInputTypeWords,
    "AgentInputType",
    "What kind of input an agent takes.",
    AgentInputType::ALL.map(|(word, _)| word)
);

/// An agent. Where it listens and which keys it has is not shown.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Agent)]
pub(crate) struct AgentBody {
    /// Server-made id.
    id: String,
    /// Unique name.
    name: String,
    /// For people.
    description: String,
    #[schema(value_type = AgentStatusWords, required = false)]
    status: AgentStatus,
    #[schema(value_type = AcpTypeWords)]
    acp_type: AcpType,
    /// Why it has that status.
    status_reason: Option<String>,
    /// First registration.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// Last change.
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// What its registrations said about it, merged.
    #[schema(value_type = Option<Object>)]
    registration_metadata: Option<JsonObject>,
    /// Last registration that changed something.
    #[schema(value_type = Option<String>, format = DateTime)]
    registered_at: Option<Timestamp>,
    #[schema(value_type = Option<AgentInputTypeWords>)]
    agent_input_type: Option<AgentInputType>,
    /// The deployment that is called instead of the agent's own address.
    production_deployment_id: Option<String>,
}

impl From<Agent> for AgentBody {
    fn from(agent: Agent) -> Self {
        let Agent {
            id,
            docker_image: _,
            name,
            description,
            acp_type,
            status,
            status_reason,
            acp_url: _,
            created_at,
            updated_at,
            registration_metadata,
            registered_at,
            agent_input_type,
            production_deployment_id,
        } = agent;
        Self {
            id: id.into_string(),
            name,
            description,
            status,
            acp_type,
            status_reason,
            created_at,
            updated_at,
            registration_metadata,
            registered_at,
            agent_input_type,
            production_deployment_id: production_deployment_id.map(|id| id.into_string()),
        }
    }
}

/// A registered agent and the key it shares with the server.
#[derive(Serialize, ToSchema)]
#[schema(as = RegisterAgentResponse)]
pub(crate) struct RegisteredBody {
    #[serde(flatten)]
    agent: AgentBody,
    /// The agent's key, in clear: shown here and nowhere else.
    agent_api_key: Option<String>,
}

impl From<Registered> for RegisteredBody {
    fn from(registered: Registered) -> Self {
        let Registered { agent, api_key } = registered;
        Self { agent: agent.into(), agent_api_key: Some(api_key) }
    }
}

/// An agent as a build registered it.
#[derive(Serialize, ToSchema)]
#[schema(as = RegisterBuildResponse)]
pub(crate) struct BuildRegisteredBody {
    #[serde(flatten)]
    agent: AgentBody,
    /// With what the agent's pods can register, in clear; only where registering takes a credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    registration_token: Option<String>,
}

impl From<BuildRegistered> for BuildRegisteredBody {
    fn from(built: BuildRegistered) -> Self {
        let BuildRegistered { agent, registration_token } = built;
        Self { agent: agent.into(), registration_token }
    }
}

/// What an agent's process says of itself when it starts.
#[derive(ToSchema)]
#[schema(as = RegisterAgentRequest)]
pub(crate) struct RegisterAgentRequest {
    /// Unique name; with `agent_id`, the new name.
    #[schema(value_type = String, pattern = "^[a-z0-9-]+$", max_length = 128)]
    name: AgentName,
    /// For people.
    description: String,
    /// Base URL the agent listens at.
    acp_url: String,
    /// Addresses an existing agent instead of the name.
    #[schema(value_type = Option<String>)]
    agent_id: Option<AgentId>,
    #[schema(value_type = AcpTypeWords)]
    acp_type: AcpType,
    /// Whom the process acts for.
    #[schema(value_type = Option<serde_json::Value>)]
    principal_context: Option<Principal>,
    /// Merged into what earlier registrations said. With `deployment_id`, only that deployment is registered.
    #[schema(value_type = Option<Object>)]
    registration_metadata: Option<JsonObject>,
    #[schema(value_type = Option<AgentInputTypeWords>)]
    agent_input_type: Option<AgentInputType>,
}

impl RequestBody for RegisterAgentRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let name = agent_name(fields);
        let (description, acp_url) = (fields.string("description"), fields.string("acp_url"));
        let agent_id = fields.optional_identifier("agent_id").map(AgentId::from);
        let acp_type = fields.choice("acp_type", &AcpType::ALL);
        let principal_context = fields.raw("principal_context").cloned();
        if principal_context.as_ref().is_some_and(input::has_nul) {
            fields.problem("principal_context", input::HAS_NUL);
        }
        let registration_metadata = fields.optional_object("registration_metadata");
        let agent_input_type = fields.optional_choice("agent_input_type", &AgentInputType::ALL);
        Some(Self {
            name: name?,
            description: description?,
            acp_url: acp_url?,
            agent_id,
            acp_type: acp_type?,
            principal_context: principal_context.map(Principal::from_json),
            registration_metadata,
            agent_input_type,
        })
    }
}

impl From<RegisterAgentRequest> for RegisterAgent {
    fn from(request: RegisterAgentRequest) -> Self {
        let RegisterAgentRequest {
            name,
            description,
            acp_url,
            agent_id,
            acp_type,
            principal_context,
            registration_metadata,
            agent_input_type,
        } = request;
        let metadata = registration_metadata;
        let registration = Registration { name, description, acp_url, acp_type, agent_input_type, metadata };
        Self { agent_id, principal_context, token: None, registration }
    }
}

/// What a build says of an agent that is not deployed yet.
#[derive(ToSchema)]
#[schema(as = RegisterBuildRequest)]
pub(crate) struct RegisterBuildRequest {
    /// Unique name.
    #[schema(value_type = String, pattern = "^[a-z0-9-]+$", max_length = 128)]
    name: AgentName,
    /// For people.
    description: String,
    /// Free metadata.
    #[schema(value_type = Option<Object>)]
    registration_metadata: Option<JsonObject>,
    #[schema(value_type = Option<AgentInputTypeWords>)]
    agent_input_type: Option<AgentInputType>,
}

impl RequestBody for RegisterBuildRequest {
    fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let (name, description) = (agent_name(fields), fields.string("description"));
        let registration_metadata = fields.optional_object("registration_metadata");
        let agent_input_type = fields.optional_choice("agent_input_type", &AgentInputType::ALL);
        Some(Self { name: name?, description: description?, registration_metadata, agent_input_type })
    }
}

impl From<RegisterBuildRequest> for RegisterBuild {
    fn from(request: RegisterBuildRequest) -> Self {
        let RegisterBuildRequest { name, description, registration_metadata, agent_input_type } = request;
        Self { name, description, metadata: registration_metadata, agent_input_type }
    }
}

fn agent_name(fields: &mut Fields<'_>) -> Option<AgentName> {
    match AgentName::parse(fields.string("name")?) {
        Ok(name) => Some(name),
        Err(text) => {
            fields.problem("name", text);
            None
        }
    }
}
