use agentex_domain::DeploymentHistoryEntry;
use agentex_domain::ports::StoreError;

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct DeploymentHistoryRow {
    id: String,
    agent_id: String,
    author_name: String,
    author_email: String,
    branch_name: String,
    build_timestamp: i64,
    deployment_timestamp: i64,
    commit_hash: String,
}

/// The columns of [`DeploymentHistoryRow`].
macro_rules! deployment_history_columns {
    () => {
        "deployment_history.id, deployment_history.agent_id, deployment_history.author_name, \
         deployment_history.author_email, deployment_history.branch_name, deployment_history.build_timestamp, \
         deployment_history.deployment_timestamp, deployment_history.commit_hash"
    };
}
pub(crate) use deployment_history_columns;

impl TryFrom<DeploymentHistoryRow> for DeploymentHistoryEntry {
    type Error = StoreError;

    fn try_from(row: DeploymentHistoryRow) -> Result<Self, StoreError> {
        let DeploymentHistoryRow {
            id,
            agent_id,
            author_name,
            author_email,
            branch_name,
            build_timestamp,
            deployment_timestamp,
            commit_hash,
        } = row;
        let read = Reader { table: "deployment_history", id: &id };
        Ok(Self {
            agent_id: agent_id.into(),
            author_name,
            author_email,
            branch_name,
            build_timestamp: read.time(build_timestamp)?,
            deployment_timestamp: read.time(deployment_timestamp)?,
            commit_hash,
            id: id.into(),
        })
    }
}
