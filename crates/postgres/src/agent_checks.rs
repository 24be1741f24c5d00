use agentex_domain::ports::{AgentCheck, AgentCheckRepository, StoreError};
use agentex_domain::{AgentId, Timestamp};
use async_trait::async_trait;
use sqlx::PgPool;

use crate::error::{retry, store_error};

const NAME: &str = "agent check";

#[derive(sqlx::FromRow)]
struct CheckRow {
    agent_id: String,
    failures: i32,
    unhealthy: bool,
}

/// Health of agents in the table `agent_checks`.
pub(crate) struct PgAgentChecks {
    pool: PgPool,
}

impl PgAgentChecks {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn claim_once(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<AgentCheck>, StoreError> {
        // Two callers may look at the same agents; the second to write finds them taken. Written in the order of their
        // ids, so that they do not wait for each other in a circle.
        let rows = sqlx::query_as::<_, CheckRow>(
            "WITH due AS (
                 SELECT a.id, a.status = 'UNHEALTHY' AS unhealthy
                   FROM agents a
                   LEFT JOIN agent_checks c ON c.agent_id = a.id
                  WHERE a.status IN ('READY', 'UNHEALTHY') AND (c.due_at IS NULL OR c.due_at <= $1)
                  ORDER BY c.due_at NULLS FIRST, a.id
                  LIMIT $3
             ), taken AS (
                 INSERT INTO agent_checks AS c (agent_id, due_at, failures)
                 SELECT id, $2, 0
                   FROM due
                  ORDER BY id
                     ON CONFLICT (agent_id) DO UPDATE
                    SET due_at = EXCLUDED.due_at
                  WHERE c.due_at <= $1
                 RETURNING c.agent_id, c.failures
             )
             SELECT taken.agent_id, taken.failures, due.unhealthy
               FROM taken
               JOIN due ON due.id = taken.agent_id",
        )
        .bind(now.as_datetime())
        .bind(until.as_datetime())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(store_error(NAME))?;
        let check = |CheckRow { agent_id, failures, unhealthy }| AgentCheck {
            agent_id: agent_id.into(),
            failures: failures.unsigned_abs(),
            unhealthy,
        };
        Ok(rows.into_iter().map(check).collect())
    }
}

#[async_trait]
impl AgentCheckRepository for PgAgentChecks {
    #[tracing::instrument(level = "debug", name = "db.agent_check.claim", skip_all)]
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<AgentCheck>, StoreError> {
        retry(|| self.claim_once(now, until, limit)).await
    }

    #[tracing::instrument(level = "debug", name = "db.agent_check.record", skip_all, fields(agent.id = %agent))]
    async fn record(&self, agent: &AgentId, failures: u32) -> Result<(), StoreError> {
        sqlx::query("UPDATE agent_checks SET failures = $2 WHERE agent_id = $1")
            .bind(agent.as_str())
            .bind(i32::try_from(failures).unwrap_or(i32::MAX))
            .execute(&self.pool)
            .await
            .map_err(store_error(NAME))?;
        Ok(())
    }
}
