use agentex_domain::ports::{AgentCheck, AgentCheckRepository, StoreError};
use agentex_domain::{AgentId, Timestamp};
use async_trait::async_trait;

use crate::database::{Database, json_text};
use crate::error::store_error;

pub(crate) struct SqliteAgentChecks {
    pub(crate) database: Database,
}

const NAME: &str = "agent check";

#[derive(sqlx::FromRow)]
struct CheckRow {
    id: String,
    failures: u32,
    unhealthy: bool,
}

#[async_trait]
impl AgentCheckRepository for SqliteAgentChecks {
    #[tracing::instrument(name = "db.agent_check.claim", level = "debug", skip_all)]
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<AgentCheck>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error(NAME))?;
        let due: Vec<CheckRow> = sqlx::query_as(
            r#"
            SELECT agents.id, IFNULL(agent_checks.failures, 0) AS failures, agents.status = 'Unhealthy' AS unhealthy
              FROM agents
              LEFT JOIN agent_checks
                ON agent_checks.agent_id = agents.id
             WHERE agents.status IN ('Ready', 'Unhealthy')
               AND (agent_checks.due_at IS NULL OR agent_checks.due_at <= ?1)
             ORDER BY agent_checks.due_at, agents.id
             LIMIT ?2
            "#,
        )
        .bind(now.as_micros())
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        if due.is_empty() {
            return Ok(Vec::new());
        }

        let ids: Vec<&str> = due.iter().map(|row| row.id.as_str()).collect();
        sqlx::query(
            r#"
            INSERT INTO agent_checks (agent_id, due_at, failures)
            SELECT value, ?2, 0
              FROM json_each(?1)
             WHERE TRUE
                ON CONFLICT (agent_id) DO UPDATE
               SET due_at = excluded.due_at
            "#,
        )
        .bind(json_text(&ids))
        .bind(until.as_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error(NAME))?;
        transaction.commit().await.map_err(store_error(NAME))?;
        let check = |CheckRow { id, failures, unhealthy }| AgentCheck { agent_id: id.into(), failures, unhealthy };
        Ok(due.into_iter().map(check).collect())
    }

    #[tracing::instrument(name = "db.agent_check.record", level = "debug", skip_all, fields(agent.id = %agent))]
    async fn record(&self, agent: &AgentId, failures: u32) -> Result<(), StoreError> {
        sqlx::query("UPDATE agent_checks SET failures = ?2 WHERE agent_id = ?1")
            .bind(agent.as_str())
            .bind(failures)
            .execute(&self.database.writer)
            .await
            .map_err(store_error(NAME))?;
        Ok(())
    }
}
