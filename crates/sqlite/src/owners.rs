use agentex_authz::{ResourceKind, ResourceRef};
use agentex_domain::Ownership;
use agentex_domain::ports::{OwnerRepository, StoreError};
use async_trait::async_trait;

use crate::database::Database;
use crate::error::store_error;
use crate::rows::{OwnershipRow, ownership_columns};

pub(crate) struct SqliteOwners {
    pub(crate) database: Database,
}

/// Selects up to ?3 ids after ?2 of the rows `$from` that have no owner recorded as ?1.
macro_rules! unowned_query {
    ($id:literal, $from:literal) => {
        concat!(
            "SELECT ",
            $id,
            " FROM ",
            $from,
            " AND ",
            $id,
            " > ?2 AND NOT EXISTS (SELECT 1 FROM authz_owners WHERE resource_type = ?1 AND selector = ",
            $id,
            ") ORDER BY ",
            $id,
            " LIMIT ?3"
        )
    };
}

#[async_trait]
impl OwnerRepository for SqliteOwners {
    #[tracing::instrument(name = "db.owner.find", level = "debug", skip_all, fields(resource = %resource))]
    async fn find(&self, resource: &ResourceRef) -> Result<Option<Ownership>, StoreError> {
        let row: Option<OwnershipRow> = sqlx::query_as(concat!(
            "SELECT ",
            ownership_columns!(),
            " FROM authz_owners WHERE resource_type = ?1 AND selector = ?2"
        ))
        .bind(resource.kind.as_str())
        .bind(&resource.selector)
        .fetch_optional(&self.database.readers)
        .await
        .map_err(store_error("owner"))?;

        row.map(Ownership::try_from).transpose()
    }

    #[tracing::instrument(name = "db.owner.page", level = "debug", skip_all, fields(resource.kind = %kind))]
    async fn page(&self, kind: ResourceKind, after: Option<String>, limit: u32) -> Result<Vec<Ownership>, StoreError> {
        // No selector is empty, so all come after the empty text.
        let rows: Vec<OwnershipRow> = sqlx::query_as(concat!(
            "SELECT ",
            ownership_columns!(),
            r#"
              FROM authz_owners
             WHERE resource_type = ?1
               AND selector > ?2
             ORDER BY selector
             LIMIT ?3
            "#
        ))
        .bind(kind.as_str())
        .bind(after.unwrap_or_default())
        .bind(limit)
        .fetch_all(&self.database.readers)
        .await
        .map_err(store_error("owner"))?;

        rows.into_iter().map(Ownership::try_from).collect()
    }

    #[tracing::instrument(name = "db.owner.unowned", level = "debug", skip_all, fields(resource.kind = %kind))]
    async fn unowned(&self, kind: ResourceKind, after: Option<String>, limit: u32) -> Result<Vec<String>, StoreError> {
        let query = match kind {
            ResourceKind::Agent => unowned_query!("agents.id", "agents WHERE agents.status <> 'Deleted'"),
            ResourceKind::Task => unowned_query!("tasks.id", "tasks WHERE tasks.status <> 'DELETED'"),
            ResourceKind::ApiKey => unowned_query!("agent_api_keys.id", "agent_api_keys WHERE TRUE"),
            ResourceKind::Schedule => unowned_query!(
                "('run-schedule::' || agent_run_schedules.agent_id || '::' || agent_run_schedules.id)",
                "agent_run_schedules WHERE agent_run_schedules.deleted_at IS NULL"
            ),
        };
        sqlx::query_scalar(query)
            .bind(kind.as_str())
            .bind(after.unwrap_or_default())
            .bind(limit)
            .fetch_all(&self.database.readers)
            .await
            .map_err(store_error("owner"))
    }
}
