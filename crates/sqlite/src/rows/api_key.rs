use agentex_domain::ports::StoreError;
use agentex_domain::{ApiKey, ApiKeyKind};

use super::Reader;

/// The names are prefixed because keys are also read next to their agent.
#[derive(sqlx::FromRow)]
pub(crate) struct ApiKeyRow {
    key_id: String,
    key_agent_id: String,
    key_name: String,
    key_type: String,
    key_sealed: String,
    key_digest: Option<String>,
    key_created_at: i64,
}

/// The columns of [`ApiKeyRow`].
macro_rules! api_key_columns {
    () => {
        "agent_api_keys.id AS key_id, agent_api_keys.agent_id AS key_agent_id, agent_api_keys.name AS key_name, \
         agent_api_keys.api_key_type AS key_type, agent_api_keys.api_key AS key_sealed, \
         agent_api_keys.api_key_digest AS key_digest, agent_api_keys.created_at AS key_created_at"
    };
}
pub(crate) use api_key_columns;

impl TryFrom<ApiKeyRow> for ApiKey {
    type Error = StoreError;

    fn try_from(row: ApiKeyRow) -> Result<Self, StoreError> {
        let ApiKeyRow { key_id, key_agent_id, key_name, key_type, key_sealed, key_digest, key_created_at } = row;
        let read = Reader { table: "agent_api_keys", id: &key_id };
        Ok(Self {
            agent_id: key_agent_id.into(),
            name: key_name,
            kind: read.word(&key_type, &ApiKeyKind::ALL)?,
            sealed: key_sealed,
            digest: key_digest,
            created_at: read.time(key_created_at)?,
            id: key_id.into(),
        })
    }
}
