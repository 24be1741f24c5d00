//! What a change of a row does to the intent and the owner of its resource, inside the row's own transaction.

use agentex_authz::ResourceRef;
use agentex_domain::ports::{Departure, Settlement, StoreError};
use agentex_domain::{Intent, IntentId, IntentStep, Ownership, Timestamp};
use sqlx::SqliteConnection;

use crate::error::store_error;
use crate::intents::bind_intent;
use crate::rows::{OwnershipRow, ownership_columns};

/// Moves the intent on and records its owner as the row's.
///
/// # Errors
/// [`StoreError::IntentLost`] when it is not registering any more; the caller must roll back.
pub(crate) async fn settle(connection: &mut SqliteConnection, settlement: &Settlement) -> Result<(), StoreError> {
    let Settlement { intent, then, due_at } = settlement;
    let moved = sqlx::query(
        r#"
        UPDATE authz_intents
           SET step = ?2, due_at = ?3
         WHERE id = ?1
           AND step = 'registering'
        "#,
    )
    .bind(intent.as_str())
    .bind(then.as_str())
    .bind(due_at.as_micros())
    .execute(&mut *connection)
    .await
    .map_err(store_error("intent"))?;
    if moved.rows_affected() == 0 {
        return Err(StoreError::IntentLost);
    }

    sqlx::query(
        r#"
        INSERT INTO authz_owners (resource_type, selector, parent_selector, owner, created_at)
        SELECT resource_type, selector, parent_selector, owner, created_at
          FROM authz_intents
         WHERE id = ?1
            ON CONFLICT (resource_type, selector) DO UPDATE
           SET parent_selector = excluded.parent_selector, owner = excluded.owner, created_at = excluded.created_at
        "#,
    )
    .bind(intent.as_str())
    .execute(connection)
    .await
    .map_err(store_error("owner"))?;
    Ok(())
}

/// Forgets the owner of a row that goes and, with a departure, stores the intent that takes it out of the graph.
pub(crate) async fn depart(
    connection: &mut SqliteConnection,
    resource: ResourceRef,
    at: Timestamp,
    departure: Option<&Departure>,
) -> Result<Option<Intent>, StoreError> {
    let recorded: Option<OwnershipRow> = sqlx::query_as(concat!(
        "DELETE FROM authz_owners WHERE resource_type = ?1 AND selector = ?2 RETURNING ",
        ownership_columns!()
    ))
    .bind(resource.kind.as_str())
    .bind(&resource.selector)
    .fetch_optional(&mut *connection)
    .await
    .map_err(store_error("owner"))?;
    let Some(Departure { by, due_at }) = departure else { return Ok(None) };

    let (owner, parent) = match recorded.map(Ownership::try_from).transpose()? {
        Some(recorded) => (recorded.owner, recorded.parent),
        None => (by.clone(), None),
    };
    let intent = Intent {
        id: IntentId::generate(),
        resource,
        parent,
        owner,
        step: IntentStep::Deregistering,
        attempts: 0,
        last_error: None,
        created_at: at,
        due_at: *due_at,
    };
    replace(connection, &intent).await?;
    Ok(Some(intent))
}

/// Stores the intent in place of whatever intent its resource has.
async fn replace(connection: &mut SqliteConnection, intent: &Intent) -> Result<(), StoreError> {
    // Whoever works on the replaced one may go on until it is due, and may touch the graph until then.
    let query = sqlx::query(
        r#"
        INSERT INTO authz_intents
               (id, resource_type, selector, parent_type, parent_selector, owner, step, attempts, last_error,
                created_at, due_at)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
            ON CONFLICT (resource_type, selector) DO UPDATE
           SET id = excluded.id, parent_type = excluded.parent_type, parent_selector = excluded.parent_selector,
               owner = excluded.owner, step = excluded.step, attempts = excluded.attempts,
               last_error = excluded.last_error, created_at = excluded.created_at, due_at = excluded.due_at,
               settle_at = CASE WHEN MAX(authz_intents.due_at, IFNULL(authz_intents.settle_at, 0)) > excluded.created_at
                                THEN MAX(authz_intents.due_at, IFNULL(authz_intents.settle_at, 0)) END
        "#,
    );
    bind_intent(query, intent).execute(connection).await.map_err(store_error("intent"))?;
    Ok(())
}
