//! What a call of an agent begins with.

use std::sync::Arc;

use agentex_domain::AgentId;
use agentex_domain::ports::{DialTarget, StoreError};
use chrono::{DateTime, Utc};
use sqlx::PgPool;

use crate::agent_row::{AgentRow, agent_columns};
use crate::api_keys::{ApiKeyRow, read_key};
use crate::batching::{Batch, by_key, distinct};
use crate::error::{nothing_if_unstorable, store_error};

/// All that a call needs: the agent, the URL of its production deployment and its newest internal key.
macro_rules! dial_target {
    ($condition:literal) => {
        concat!(
            "SELECT ",
            agent_columns!(),
            ", NULLIF(d.acp_url, '') AS production_url, k.key_id, k.key_agent_id, k.key_name, k.key_kind, k.key_sealed,
                    k.key_digest, k.key_created_at
               FROM agents a
               LEFT JOIN deployments d ON d.id = a.production_deployment_id
               LEFT JOIN LATERAL (
                   SELECT k.id AS key_id, k.agent_id AS key_agent_id, k.name AS key_name,
                          k.api_key_type::text AS key_kind, k.api_key AS key_sealed, k.api_key_digest AS key_digest,
                          COALESCE(k.created_at, 'epoch') AS key_created_at
                     FROM agent_api_keys k
                    WHERE k.agent_id = a.id AND k.api_key_type = 'INTERNAL'
                    ORDER BY k.created_at DESC NULLS LAST, k.id DESC
                    LIMIT 1
               ) k ON true
              WHERE ",
            $condition
        )
    };
}

#[derive(sqlx::FromRow)]
struct DialRow {
    #[sqlx(flatten)]
    agent: AgentRow,
    production_url: Option<String>,
    key_id: Option<String>,
    key_agent_id: Option<String>,
    key_name: Option<String>,
    key_kind: Option<String>,
    key_sealed: Option<String>,
    key_digest: Option<String>,
    key_created_at: Option<DateTime<Utc>>,
}

impl TryFrom<DialRow> for DialTarget {
    type Error = StoreError;

    fn try_from(row: DialRow) -> Result<Self, StoreError> {
        let key = match (row.key_id, row.key_agent_id, row.key_name, row.key_kind, row.key_sealed, row.key_created_at) {
            (Some(id), Some(agent_id), Some(name), Some(kind), Some(sealed), Some(created_at)) => {
                Some(ApiKeyRow { id, agent_id, name, kind, sealed, digest: row.key_digest, created_at })
            }
            _ => None,
        };
        Ok(Self {
            agent: row.agent.try_into()?,
            production_url: row.production_url,
            internal_key: key.map(read_key).transpose()?,
        })
    }
}

/// How to call an agent, by its id.
pub(crate) struct Dial(pub(crate) PgPool);

impl Batch for Dial {
    type Item = AgentId;
    type Answer = Option<DialTarget>;

    async fn alone(&self, id: &AgentId) -> Result<Option<DialTarget>, StoreError> {
        let row = sqlx::query_as(dial_target!("a.id = $1")).bind(id.as_str()).fetch_optional(&self.0).await;
        read_target(row)
    }

    async fn together(&self, ids: &[Arc<AgentId>]) -> Result<Vec<Option<Option<DialTarget>>>, StoreError> {
        let rows = sqlx::query_as(dial_target!("a.id = ANY($1)"))
            .bind(distinct(ids, AgentId::as_str))
            .fetch_all(&self.0)
            .await;
        let found = read_targets(rows)?.into_iter().map(|dial| (dial.agent.id.clone(), dial)).collect();
        Ok(by_key(ids, &found, AgentId::clone))
    }
}

/// How to call an agent, by its name.
pub(crate) struct DialByName(pub(crate) PgPool);

impl Batch for DialByName {
    type Item = String;
    type Answer = Option<DialTarget>;

    async fn alone(&self, name: &String) -> Result<Option<DialTarget>, StoreError> {
        let row = sqlx::query_as(dial_target!("a.name = $1")).bind(name).fetch_optional(&self.0).await;
        read_target(row)
    }

    async fn together(&self, names: &[Arc<String>]) -> Result<Vec<Option<Option<DialTarget>>>, StoreError> {
        let rows = sqlx::query_as(dial_target!("a.name = ANY($1)"))
            .bind(distinct(names, String::as_str))
            .fetch_all(&self.0)
            .await;
        let found = read_targets(rows)?.into_iter().map(|dial| (dial.agent.name.clone(), dial)).collect();
        Ok(by_key(names, &found, String::clone))
    }
}

fn read_target(row: Result<Option<DialRow>, sqlx::Error>) -> Result<Option<DialTarget>, StoreError> {
    nothing_if_unstorable(row).map_err(store_error("agent"))?.map(DialTarget::try_from).transpose()
}

fn read_targets(rows: Result<Vec<DialRow>, sqlx::Error>) -> Result<Vec<DialTarget>, StoreError> {
    rows.map_err(store_error("agent"))?.into_iter().map(DialTarget::try_from).collect()
}
