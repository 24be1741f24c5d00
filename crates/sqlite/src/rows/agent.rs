use agentex_domain::ports::StoreError;
use agentex_domain::{AcpType, Agent, AgentInputType, AgentStatus};

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct AgentRow {
    id: String,
    name: String,
    description: String,
    docker_image: Option<String>,
    status: String,
    status_reason: Option<String>,
    acp_url: Option<String>,
    acp_type: String,
    created_at: i64,
    updated_at: i64,
    registration_metadata: Option<String>,
    registered_at: Option<i64>,
    agent_input_type: Option<String>,
    production_deployment_id: Option<String>,
}

/// The columns of [`AgentRow`].
macro_rules! agent_columns {
    () => {
        "agents.id, agents.name, agents.description, agents.docker_image, agents.status, agents.status_reason, \
         agents.acp_url, agents.acp_type, agents.created_at, agents.updated_at, agents.registration_metadata, \
         agents.registered_at, agents.agent_input_type, agents.production_deployment_id"
    };
}
pub(crate) use agent_columns;

impl TryFrom<AgentRow> for Agent {
    type Error = StoreError;

    fn try_from(row: AgentRow) -> Result<Self, StoreError> {
        let AgentRow {
            id,
            name,
            description,
            docker_image,
            status,
            status_reason,
            acp_url,
            acp_type,
            created_at,
            updated_at,
            registration_metadata,
            registered_at,
            agent_input_type,
            production_deployment_id,
        } = row;
        let read = Reader { table: "agents", id: &id };
        Ok(Self {
            name,
            description,
            docker_image,
            status: read.word(&status, &AgentStatus::ALL)?,
            status_reason,
            acp_url,
            acp_type: read.word(&acp_type, &AcpType::ALL)?,
            created_at: read.time(created_at)?,
            updated_at: read.time(updated_at)?,
            registration_metadata: read.optional_object(registration_metadata)?,
            registered_at: read.optional_time(registered_at)?,
            agent_input_type: read.optional_word(agent_input_type.as_deref(), &AgentInputType::ALL)?,
            production_deployment_id: production_deployment_id.map(Into::into),
            id: id.into(),
        })
    }
}
