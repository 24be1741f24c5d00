use agentex_domain::ports::{DeploymentHistoryOrder, DeploymentHistoryRepository, StoreError};
use agentex_domain::{Agent, AgentId, DeploymentHistoryEntry, DeploymentHistoryId, Direction, PageRequest};
use async_trait::async_trait;
use sqlx::{QueryBuilder, SqliteConnection};

use crate::database::{Database, push_order, push_page};
use crate::error::store_error;
use crate::rows::{DeploymentHistoryRow, deployment_history_columns};

pub(crate) struct SqliteDeploymentHistory {
    pub(crate) database: Database,
}

#[async_trait]
impl DeploymentHistoryRepository for SqliteDeploymentHistory {
    #[tracing::instrument(name = "db.deployment_history.find", level = "debug", skip_all)]
    async fn find(&self, id: &DeploymentHistoryId) -> Result<Option<DeploymentHistoryEntry>, StoreError> {
        let row: Option<DeploymentHistoryRow> = sqlx::query_as(concat!(
            "SELECT ",
            deployment_history_columns!(),
            r#"
              FROM deployment_history
              JOIN agents
                ON agents.id = deployment_history.agent_id
             WHERE deployment_history.id = ?1
               AND agents.status <> 'Deleted'
            "#
        ))
        .bind(id.as_str())
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("deployment history"))?;

        row.map(DeploymentHistoryEntry::try_from).transpose()
    }

    #[tracing::instrument(name = "db.deployment_history.list", level = "debug", skip_all, fields(agent.id = %agent_id))]
    async fn list(
        &self,
        agent_id: &AgentId,
        order: DeploymentHistoryOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<DeploymentHistoryEntry>, StoreError> {
        let mut query = QueryBuilder::new(concat!(
            "SELECT ",
            deployment_history_columns!(),
            " FROM deployment_history WHERE deployment_history.agent_id = "
        ));
        query.push_bind(agent_id.as_str());
        push_order(&mut query, order_columns(order), direction);
        push_page(&mut query, page);

        let rows: Vec<DeploymentHistoryRow> = query
            .build_query_as()
            .fetch_all(&self.database.readers)
            .await
            .map_err(store_error("deployment history"))?;
        rows.into_iter().map(DeploymentHistoryEntry::try_from).collect()
    }
}

/// Adds what there is to add about an agent that has just registered, in the transaction that writes its row. A commit that
/// is the newest already is not added again.
pub(crate) async fn record(connection: &mut SqliteConnection, agent: &Agent) -> Result<(), StoreError> {
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
        r#"
        INSERT INTO deployment_history
               (id, agent_id, author_name, author_email, branch_name, build_timestamp, deployment_timestamp, commit_hash)
        SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
         WHERE ?8 IS NOT (
               SELECT newest.commit_hash
                 FROM deployment_history AS newest
                WHERE newest.agent_id = ?2
                ORDER BY newest.deployment_timestamp DESC, newest.id DESC
                LIMIT 1)
        "#,
    )
    .bind(id.as_str())
    .bind(agent_id.as_str())
    .bind(author_name)
    .bind(author_email)
    .bind(branch_name)
    .bind(build_timestamp.as_micros())
    .bind(deployment_timestamp.as_micros())
    .bind(commit_hash)
    .execute(connection)
    .await
    .map_err(store_error("deployment history"))?;
    Ok(())
}

const fn order_columns(order: DeploymentHistoryOrder) -> &'static [&'static str] {
    match order {
        DeploymentHistoryOrder::DeploymentTimestamp => {
            &["deployment_history.deployment_timestamp", "deployment_history.id"]
        }
        DeploymentHistoryOrder::BuildTimestamp => {
            &["deployment_history.build_timestamp", "deployment_history.deployment_timestamp", "deployment_history.id"]
        }
        DeploymentHistoryOrder::Id => &["deployment_history.id"],
        DeploymentHistoryOrder::AuthorName => {
            &["deployment_history.author_name", "deployment_history.deployment_timestamp", "deployment_history.id"]
        }
        DeploymentHistoryOrder::AuthorEmail => {
            &["deployment_history.author_email", "deployment_history.deployment_timestamp", "deployment_history.id"]
        }
        DeploymentHistoryOrder::BranchName => {
            &["deployment_history.branch_name", "deployment_history.deployment_timestamp", "deployment_history.id"]
        }
        DeploymentHistoryOrder::CommitHash => {
            &["deployment_history.commit_hash", "deployment_history.deployment_timestamp", "deployment_history.id"]
        }
    }
}
