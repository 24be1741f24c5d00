use agentex_domain::ports::StoreError;
use agentex_domain::{AcpType, Agent, DeploymentId, Timestamp};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

use crate::error::{Unreadable, corrupt};
use crate::json;
use crate::labels;

/// The columns of [`AgentRow`], of the table called `a`. A literal, so that statements stay constants.
macro_rules! agent_columns {
    () => {
        "a.id, a.docker_image, a.name, a.description, a.acp_type, a.status::text AS status, a.status_reason, a.acp_url,
         COALESCE(a.created_at, a.updated_at, 'epoch') AS created_at,
         COALESCE(a.updated_at, a.created_at, 'epoch') AS updated_at,
         a.registration_metadata, a.registered_at, a.agent_input_type::text AS agent_input_type,
         a.production_deployment_id"
    };
}
pub(crate) use agent_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct AgentRow {
    id: String,
    docker_image: Option<String>,
    name: String,
    description: String,
    acp_type: String,
    status: String,
    status_reason: Option<String>,
    acp_url: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    registration_metadata: Option<Json<Value>>,
    registered_at: Option<DateTime<Utc>>,
    agent_input_type: Option<String>,
    production_deployment_id: Option<String>,
}

impl TryFrom<AgentRow> for Agent {
    type Error = StoreError;

    fn try_from(row: AgentRow) -> Result<Self, StoreError> {
        let AgentRow {
            id,
            docker_image,
            name,
            description,
            acp_type,
            status,
            status_reason,
            acp_url,
            created_at,
            updated_at,
            registration_metadata,
            registered_at,
            agent_input_type,
            production_deployment_id,
        } = row;
        let unreadable = |column| corrupt("agents", &id, Unreadable { column });
        let acp_type = AcpType::ALL.iter().find(|(text, _)| *text == acp_type).map(|(_, acp_type)| *acp_type);
        let agent_input_type = agent_input_type
            .map(|label| labels::read_input_type(&label).ok_or_else(|| unreadable("agent_input_type")))
            .transpose()?;
        Ok(Self {
            acp_type: acp_type.ok_or_else(|| unreadable("acp_type"))?,
            status: labels::read_agent_status(&status).ok_or_else(|| unreadable("status"))?,
            registration_metadata: json::from_column("agents", &id, "registration_metadata", registration_metadata)?,
            agent_input_type,
            id: id.into(),
            docker_image,
            name,
            description,
            status_reason,
            acp_url,
            created_at: Timestamp::new(created_at),
            updated_at: Timestamp::new(updated_at),
            registered_at: registered_at.map(Timestamp::new),
            production_deployment_id: production_deployment_id.map(DeploymentId::from),
        })
    }
}
