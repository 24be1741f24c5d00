use agentex_authz::ResourceRef;
use agentex_domain::ports::{Backlog, IntentRepository, Opened, Settlement, StoreError};
use agentex_domain::{Intent, IntentId, IntentStep, Timestamp};
use async_trait::async_trait;
use sqlx::query::Query;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Sqlite, SqliteConnection};

use crate::database::{Database, json_text};
use crate::error::store_error;
use crate::lifecycle;
use crate::rows::{IntentRow, intent_columns};

pub(crate) struct SqliteIntents {
    pub(crate) database: Database,
}

#[async_trait]
impl IntentRepository for SqliteIntents {
    #[tracing::instrument(name = "db.intent.open", level = "debug", skip_all, fields(resource = %intent.resource))]
    async fn open(&self, intent: &Intent) -> Result<Opened, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("intent"))?;
        let unfinished: Option<IntentRow> = sqlx::query_as(concat!(
            "SELECT ",
            intent_columns!(),
            " FROM authz_intents WHERE resource_type = ?1 AND selector = ?2"
        ))
        .bind(intent.resource.kind.as_str())
        .bind(&intent.resource.selector)
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error("intent"))?;
        if let Some(row) = unfinished {
            return row.try_into().map(Opened::Busy);
        }

        let query = sqlx::query(
            r#"
            INSERT INTO authz_intents
                   (id, resource_type, selector, parent_type, parent_selector, owner, step, attempts, last_error,
                    created_at, due_at)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
            "#,
        );
        bind_intent(query, intent).execute(&mut *transaction).await.map_err(store_error("intent"))?;
        transaction.commit().await.map_err(store_error("intent"))?;
        Ok(Opened::Done)
    }

    #[tracing::instrument(name = "db.intent.abandon", level = "debug", skip_all, fields(intent.id = %id))]
    async fn abandon(&self, id: &IntentId, due_at: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query(
            r#"
            UPDATE authz_intents
               SET step = 'deregistering', due_at = ?2
             WHERE id = ?1
               AND step = 'registering'
            "#,
        )
        .bind(id.as_str())
        .bind(due_at.as_micros())
        .execute(&self.database.writer)
        .await
        .map_err(store_error("intent"))?;
        Ok(done.rows_affected() == 1)
    }

    #[tracing::instrument(name = "db.intent.settle", level = "debug", skip_all, fields(intent.id = %settlement.intent))]
    async fn settle(&self, settlement: &Settlement) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("intent"))?;
        lifecycle::settle(&mut transaction, settlement).await?;
        transaction.commit().await.map_err(store_error("intent"))
    }

    #[tracing::instrument(name = "db.intent.retire", level = "debug", skip_all, fields(intent.id = %id))]
    async fn retire(&self, id: &IntentId, due_at: Timestamp) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("intent"))?;
        let retired: Option<(String, String)> = sqlx::query_as(
            r#"
            UPDATE authz_intents
               SET step = 'deregistering', due_at = ?2
             WHERE id = ?1
               AND step = 'registering'
            RETURNING resource_type, selector
            "#,
        )
        .bind(id.as_str())
        .bind(due_at.as_micros())
        .fetch_optional(&mut *transaction)
        .await
        .map_err(store_error("intent"))?;
        let Some((kind, selector)) = retired else { return Ok(false) };
        sqlx::query("DELETE FROM authz_owners WHERE resource_type = ?1 AND selector = ?2")
            .bind(kind)
            .bind(selector)
            .execute(&mut *transaction)
            .await
            .map_err(store_error("owner"))?;
        transaction.commit().await.map_err(store_error("intent"))?;
        Ok(true)
    }

    #[tracing::instrument(name = "db.intent.close", level = "debug", skip_all, fields(intent.id = %id))]
    async fn close(&self, id: &IntentId, step: IntentStep, now: Timestamp) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("intent"))?;
        let removed = sqlx::query(
            r#"
            DELETE FROM authz_intents
             WHERE id = ?1
               AND step = ?2
               AND (settle_at IS NULL OR settle_at <= ?3)
            "#,
        )
        .bind(id.as_str())
        .bind(step.as_str())
        .bind(now.as_micros())
        .execute(&mut *transaction)
        .await
        .map_err(store_error("intent"))?;
        let mut met = removed.rows_affected() == 1;
        if !met {
            met = put_off(&mut transaction, id, step).await?;
        }
        transaction.commit().await.map_err(store_error("intent"))?;
        Ok(met)
    }

    #[tracing::instrument(name = "db.intent.failed", level = "debug", skip_all, fields(intent.id = %id))]
    async fn failed(&self, id: &IntentId, error: &str, due_at: Timestamp) -> Result<(), StoreError> {
        sqlx::query(
            r#"
            UPDATE authz_intents
               SET attempts = attempts + 1, last_error = ?2, due_at = ?3
             WHERE id = ?1
            "#,
        )
        .bind(id.as_str())
        .bind(error)
        .bind(due_at.as_micros())
        .execute(&self.database.writer)
        .await
        .map_err(store_error("intent"))?;
        Ok(())
    }

    #[tracing::instrument(name = "db.intent.claim", level = "debug", skip_all)]
    async fn claim(&self, now: Timestamp, until: Timestamp, limit: u32) -> Result<Vec<Intent>, StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("intent"))?;
        let due: Vec<IntentRow> = sqlx::query_as(concat!(
            "SELECT ",
            intent_columns!(),
            r#"
              FROM authz_intents
             WHERE due_at <= ?1
             ORDER BY due_at, id
             LIMIT ?2
            "#
        ))
        .bind(now.as_micros())
        .bind(limit)
        .fetch_all(&mut *transaction)
        .await
        .map_err(store_error("intent"))?;
        if due.is_empty() {
            return Ok(Vec::new());
        }

        let mut intents = read_all(due)?;
        let ids: Vec<&str> = intents.iter().map(|intent| intent.id.as_str()).collect();
        sqlx::query("UPDATE authz_intents SET due_at = ?2 WHERE id IN (SELECT value FROM json_each(?1))")
            .bind(json_text(&ids))
            .bind(until.as_micros())
            .execute(&mut *transaction)
            .await
            .map_err(store_error("intent"))?;
        transaction.commit().await.map_err(store_error("intent"))?;
        for intent in &mut intents {
            intent.due_at = until;
        }
        Ok(intents)
    }

    #[tracing::instrument(name = "db.intent.claim_one", level = "debug", skip_all, fields(resource = %resource))]
    async fn claim_one(
        &self,
        resource: &ResourceRef,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<Intent>, StoreError> {
        let claimed: Vec<IntentRow> = sqlx::query_as(concat!(
            r#"
            UPDATE authz_intents
               SET due_at = ?4
             WHERE resource_type = ?1
               AND selector = ?2
               AND due_at <= ?3
            RETURNING "#,
            intent_columns!()
        ))
        .bind(resource.kind.as_str())
        .bind(&resource.selector)
        .bind(now.as_micros())
        .bind(until.as_micros())
        .fetch_all(&self.database.writer)
        .await
        .map_err(store_error("intent"))?;
        Ok(read_all(claimed)?.pop())
    }

    #[tracing::instrument(name = "db.intent.list", level = "debug", skip_all)]
    async fn list(&self, limit: u32) -> Result<Vec<Intent>, StoreError> {
        let rows: Vec<IntentRow> = sqlx::query_as(concat!(
            "SELECT ",
            intent_columns!(),
            r#"
              FROM authz_intents
             ORDER BY created_at, id
             LIMIT ?1
            "#
        ))
        .bind(limit)
        .fetch_all(&self.database.readers)
        .await
        .map_err(store_error("intent"))?;
        read_all(rows)
    }

    #[tracing::instrument(name = "db.intent.backlog", level = "debug", skip_all)]
    async fn backlog(&self) -> Result<Backlog, StoreError> {
        let (open, failing, oldest): (i64, i64, Option<i64>) =
            sqlx::query_as("SELECT count(*), count(*) FILTER (WHERE attempts > 0), min(created_at) FROM authz_intents")
                .fetch_one(&self.database.readers)
                .await
                .map_err(store_error("intent"))?;
        Ok(Backlog {
            open: open.unsigned_abs(),
            failing: failing.unsigned_abs(),
            oldest: oldest.and_then(Timestamp::from_micros),
        })
    }
}

fn read_all(rows: Vec<IntentRow>) -> Result<Vec<Intent>, StoreError> {
    rows.into_iter().map(Intent::try_from).collect()
}

/// Binds an intent, ?1 to ?11, in the order of the table.
pub(crate) fn bind_intent<'q>(
    query: Query<'q, Sqlite, SqliteArguments>,
    intent: &'q Intent,
) -> Query<'q, Sqlite, SqliteArguments> {
    let Intent { id, resource, parent, owner, step, attempts, last_error, created_at, due_at } = intent;
    query
        .bind(id.as_str())
        .bind(resource.kind.as_str())
        .bind(&resource.selector)
        .bind(parent.as_ref().map(|parent| parent.kind.as_str()))
        .bind(parent.as_ref().map(|parent| parent.selector.as_str()))
        .bind(json_text(owner.as_json()))
        .bind(step.as_str())
        .bind(attempts)
        .bind(last_error)
        .bind(created_at.as_micros())
        .bind(due_at.as_micros())
}

/// Makes a finished intent due once more when the work on the one it replaced must have ended. `false` when there is no
/// such intent.
async fn put_off(connection: &mut SqliteConnection, id: &IntentId, step: IntentStep) -> Result<bool, StoreError> {
    let done = sqlx::query(
        r#"
        UPDATE authz_intents
           SET due_at = settle_at, attempts = 0
         WHERE id = ?1
           AND step = ?2
           AND settle_at IS NOT NULL
        "#,
    )
    .bind(id.as_str())
    .bind(step.as_str())
    .execute(connection)
    .await
    .map_err(store_error("intent"))?;
    Ok(done.rows_affected() == 1)
}
