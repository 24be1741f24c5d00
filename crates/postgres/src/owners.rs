use agentex_authz::{Principal, ResourceKind, ResourceRef};
use agentex_domain::ports::{OwnerRepository, StoreError};
use agentex_domain::{Ownership, Timestamp};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgPool;
use sqlx::types::Json;

use crate::error::{nothing_if_unstorable, store_error};

/// A page of live rows without an owner. In the order of the primary key, which is that of the database's locale: it
/// only has to be the same for every page.
macro_rules! unowned {
    ($kind:literal, $live:literal) => {
        concat!(
            "SELECT r.id
               FROM ",
            $live,
            " AND r.id > $1
                AND NOT EXISTS (SELECT 1
                                  FROM authz_owners o
                                 WHERE o.resource_type = '",
            $kind,
            "' AND o.selector = r.id)
              ORDER BY r.id
              LIMIT $2"
        )
    };
}

#[derive(sqlx::FromRow)]
struct OwnerRow {
    selector: String,
    parent_selector: Option<String>,
    owner: Json<Value>,
    created_at: DateTime<Utc>,
}

fn read_owner(kind: ResourceKind, row: OwnerRow) -> Ownership {
    let OwnerRow { selector, parent_selector, owner: Json(owner), created_at } = row;
    Ownership {
        resource: ResourceRef { kind, selector },
        parent: parent_selector.map(ResourceRef::agent),
        owner: Principal::from_json(owner),
        created_at: Timestamp::new(created_at),
    }
}

/// Owners in the table `authz_owners`.
pub(crate) struct PgOwners {
    pool: PgPool,
}

impl PgOwners {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl OwnerRepository for PgOwners {
    #[tracing::instrument(level = "debug", name = "db.owner.find", skip_all, fields(%resource))]
    async fn find(&self, resource: &ResourceRef) -> Result<Option<Ownership>, StoreError> {
        let row = sqlx::query_as::<_, OwnerRow>(
            "SELECT selector, parent_selector, owner, created_at
               FROM authz_owners
              WHERE resource_type = $1 AND selector = $2",
        )
        .bind(resource.kind.as_str())
        .bind(&resource.selector)
        .fetch_optional(&self.pool)
        .await;
        let row = nothing_if_unstorable(row).map_err(store_error("owner"))?;
        Ok(row.map(|row| read_owner(resource.kind, row)))
    }

    #[tracing::instrument(level = "debug", name = "db.owner.page", skip_all, fields(%kind))]
    async fn page(&self, kind: ResourceKind, after: Option<String>, limit: u32) -> Result<Vec<Ownership>, StoreError> {
        let rows = sqlx::query_as::<_, OwnerRow>(
            "SELECT selector, parent_selector, owner, created_at
               FROM authz_owners
              WHERE resource_type = $1 AND selector > $2
              ORDER BY selector
              LIMIT $3",
        )
        .bind(kind.as_str())
        .bind(after.unwrap_or_default())
        .bind(i64::from(limit))
        .fetch_all(&self.pool)
        .await
        .map_err(store_error("owner"))?;
        Ok(rows.into_iter().map(|row| read_owner(kind, row)).collect())
    }

    #[tracing::instrument(level = "debug", name = "db.owner.unowned", skip_all, fields(%kind))]
    async fn unowned(&self, kind: ResourceKind, after: Option<String>, limit: u32) -> Result<Vec<String>, StoreError> {
        let statement = match kind {
            ResourceKind::Agent => unowned!("agent", "agents r WHERE r.status <> 'DELETED'"),
            ResourceKind::Task => unowned!("task", "tasks r WHERE r.status <> 'DELETED'"),
            ResourceKind::ApiKey => unowned!("api_key", "agent_api_keys r WHERE true"),
            ResourceKind::Schedule => unowned!(
                "schedule",
                "(SELECT 'run-schedule::' || agent_id || '::' || id AS id
                    FROM agent_run_schedules
                   WHERE deleted_at IS NULL) r
                 WHERE true"
            ),
        };
        sqlx::query_scalar(statement)
            .bind(after.unwrap_or_default())
            .bind(i64::from(limit))
            .fetch_all(&self.pool)
            .await
            .map_err(store_error("owner"))
    }
}
