use agentex_domain::ports::{DeploymentHistoryOrder, DeploymentHistoryRepository, StoreError};
use agentex_domain::{Agent, AgentId, DeploymentHistoryEntry, DeploymentHistoryId, Direction, PageRequest, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use sqlx::{PgConnection, Postgres, QueryBuilder};

use crate::error::{nothing_if_unstorable, store_error};
use crate::ordering::{push_order, push_page};
use crate::store::Pools;

#[derive(sqlx::FromRow)]
struct EntryRow {
    id: String,
    agent_id: String,
    author_name: String,
    author_email: String,
    branch_name: String,
    build_timestamp: DateTime<Utc>,
    deployment_timestamp: DateTime<Utc>,
    commit_hash: String,
}

impl From<EntryRow> for DeploymentHistoryEntry {
    fn from(row: EntryRow) -> Self {
        let EntryRow {
            id,
            agent_id,
            author_name,
            author_email,
            branch_name,
            build_timestamp,
            deployment_timestamp,
            commit_hash,
        } = row;
        Self {
            id: id.into(),
            agent_id: agent_id.into(),
            author_name,
            author_email,
            branch_name,
            build_timestamp: Timestamp::new(build_timestamp),
            deployment_timestamp: Timestamp::new(deployment_timestamp),
            commit_hash,
        }
    }
}

/// The history in the table `deployment_history`.
pub(crate) struct PgDeploymentHistory {
    pools: Pools,
}

impl PgDeploymentHistory {
    pub(crate) const fn new(pools: Pools) -> Self {
        Self { pools }
    }
}

#[async_trait]
impl DeploymentHistoryRepository for PgDeploymentHistory {
    /// The key of the table is id and agent; of rows with one id, which only foreign writers make, it is the newest.
    #[tracing::instrument(level = "debug", name = "db.deployment_history.find", skip_all)]
    async fn find(&self, id: &DeploymentHistoryId) -> Result<Option<DeploymentHistoryEntry>, StoreError> {
        let row = sqlx::query_as::<_, EntryRow>(
            "SELECT h.id, h.agent_id, h.author_name, h.author_email, h.branch_name, h.build_timestamp,
                    h.deployment_timestamp, h.commit_hash
               FROM deployment_history h
               JOIN agents a ON a.id = h.agent_id
              WHERE h.id = $1 AND a.status <> 'DELETED'
              ORDER BY h.deployment_timestamp DESC, h.agent_id
              LIMIT 1",
        )
        .bind(id.as_str())
        .fetch_optional(&self.pools.primary)
        .await;
        Ok(nothing_if_unstorable(row).map_err(store_error("deployment history"))?.map(DeploymentHistoryEntry::from))
    }

    #[tracing::instrument(level = "debug", name = "db.deployment_history.list", skip_all, fields(agent.id = %agent_id))]
    async fn list(
        &self,
        agent_id: &AgentId,
        order: DeploymentHistoryOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<DeploymentHistoryEntry>, StoreError> {
        let mut query = QueryBuilder::<Postgres>::new(
            "SELECT h.id, h.agent_id, h.author_name, h.author_email, h.branch_name, h.build_timestamp,
                    h.deployment_timestamp, h.commit_hash
               FROM deployment_history h
              WHERE h.agent_id = ",
        );
        query.push_bind(agent_id.as_str());
        push_order(&mut query, sort_columns(order), direction);
        push_page(&mut query, page);
        let rows = query.build_query_as::<EntryRow>().fetch_all(&self.pools.reader).await;
        let rows = nothing_if_unstorable(rows).map_err(store_error("deployment history"))?;
        Ok(rows.into_iter().map(DeploymentHistoryEntry::from).collect())
    }
}

/// Adds what there is to add about an agent that has just registered, in the transaction that writes its row and has it
/// locked. A commit that is the newest already is not added again.
pub(crate) async fn record(transaction: &mut PgConnection, agent: &Agent) -> Result<(), StoreError> {
    let Some(entry) = DeploymentHistoryEntry::of(agent) else { return Ok(()) };
    let DeploymentHistoryEntry {
        id,
        agent_id,
        author_name,
        author_email,
        branch_name,
        build_timestamp,
        deployment_timestamp,
        commit_hash,
    } = &entry;
    sqlx::query(
        "INSERT INTO deployment_history
                (id, agent_id, author_name, author_email, branch_name, build_timestamp, deployment_timestamp, commit_hash)
         SELECT $1, $2, $3, $4, $5, $6, $7, $8
          WHERE $8 IS DISTINCT FROM (
                    SELECT h.commit_hash
                      FROM deployment_history h
                     WHERE h.agent_id = $2
                     ORDER BY h.deployment_timestamp DESC, h.id COLLATE \"C\" DESC
                     LIMIT 1
                )",
    )
    .bind(id.as_str())
    .bind(agent_id.as_str())
    .bind(author_name)
    .bind(author_email)
    .bind(branch_name)
    .bind(build_timestamp.as_datetime())
    .bind(deployment_timestamp.as_datetime())
    .bind(commit_hash)
    .execute(transaction)
    .await
    .map_err(store_error("deployment history"))?;
    Ok(())
}

/// Texts sort bytewise, whatever the locale of the database.
const fn sort_columns(order: DeploymentHistoryOrder) -> &'static [&'static str] {
    match order {
        DeploymentHistoryOrder::DeploymentTimestamp => &["h.deployment_timestamp", "h.id COLLATE \"C\""],
        DeploymentHistoryOrder::BuildTimestamp => {
            &["h.build_timestamp", "h.deployment_timestamp", "h.id COLLATE \"C\""]
        }
        DeploymentHistoryOrder::Id => &["h.id COLLATE \"C\""],
        DeploymentHistoryOrder::AuthorName => {
            &["h.author_name COLLATE \"C\"", "h.deployment_timestamp", "h.id COLLATE \"C\""]
        }
        DeploymentHistoryOrder::AuthorEmail => {
            &["h.author_email COLLATE \"C\"", "h.deployment_timestamp", "h.id COLLATE \"C\""]
        }
        DeploymentHistoryOrder::BranchName => {
            &["h.branch_name COLLATE \"C\"", "h.deployment_timestamp", "h.id COLLATE \"C\""]
        }
        DeploymentHistoryOrder::CommitHash => {
            &["h.commit_hash COLLATE \"C\"", "h.deployment_timestamp", "h.id COLLATE \"C\""]
        }
    }
}
