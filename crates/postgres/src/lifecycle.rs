//! What a row's own transaction does for the authorization graph.

use std::collections::HashMap;

use agentex_authz::ResourceRef;
use agentex_domain::ports::{Departure, Settlement, StoreError};
use agentex_domain::{Intent, IntentId, Timestamp};
use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use sqlx::types::Json;

use crate::error::store_error;
use crate::intent_row::{IntentRow, intent_columns};

/// A statement under a [`Settlement`], whose three parameters come first and are null when there is none. Its rows must
/// come from `allowed`: one row when the intent is settled or there is none, no row when it is lost.
macro_rules! settling {
    ($statement:literal) => {
        concat!(
            "WITH settled AS (
                 UPDATE authz_intents
                    SET step = $2, due_at = $3
                  WHERE id = $1 AND step = 'registering'
                 RETURNING resource_type, selector, parent_selector, owner, created_at
             ), owned AS (
                 INSERT INTO authz_owners (resource_type, selector, parent_selector, owner, created_at)
                 SELECT resource_type, selector, parent_selector, owner, created_at
                   FROM settled
                     ON CONFLICT (resource_type, selector)
                     DO UPDATE SET parent_selector = EXCLUDED.parent_selector, owner = EXCLUDED.owner,
                                   created_at = EXCLUDED.created_at
             ), allowed AS (
                 SELECT 1
                   FROM settled
                  UNION ALL
                 SELECT 1
                  WHERE $1 IS NULL
             ) ",
            $statement
        )
    };
}
pub(crate) use settling;

/// The parameters of [`settling`], in their order.
pub(crate) type SettlementColumns<'a> = (Option<&'a str>, Option<&'static str>, Option<DateTime<Utc>>);

pub(crate) fn settlement_columns(settles: Option<&Settlement>) -> SettlementColumns<'_> {
    match settles {
        Some(Settlement { intent, then, due_at }) => {
            (Some(intent.as_str()), Some(then.as_str()), Some(due_at.as_datetime()))
        }
        None => (None, None, None),
    }
}

/// Settles the intent in the transaction that has written its row.
///
/// # Errors
/// [`StoreError::IntentLost`]; the transaction must not be committed then.
pub(crate) async fn settle(transaction: &mut PgConnection, settles: Option<&Settlement>) -> Result<(), StoreError> {
    if settles.is_none() {
        return Ok(());
    }
    let (intent, then, due_at) = settlement_columns(settles);
    let settled: i64 = sqlx::query_scalar(settling!("SELECT count(*) FROM allowed"))
        .bind(intent)
        .bind(then)
        .bind(due_at)
        .fetch_one(transaction)
        .await
        .map_err(store_error("intent"))?;
    if settled == 0 { Err(StoreError::IntentLost) } else { Ok(()) }
}

/// Forgets the owners of rows that the transaction has removed and, with a departure, stores their intents and answers
/// them in the order of `resources`.
pub(crate) async fn depart(
    transaction: &mut PgConnection,
    resources: &[ResourceRef],
    at: Timestamp,
    departure: Option<&Departure>,
) -> Result<Vec<Intent>, StoreError> {
    if resources.is_empty() {
        return Ok(Vec::new());
    }
    let kinds: Vec<&str> = resources.iter().map(|resource| resource.kind.as_str()).collect();
    let selectors: Vec<&str> = resources.iter().map(|resource| resource.selector.as_str()).collect();
    let Some(Departure { by, due_at }) = departure else {
        sqlx::query(
            "DELETE FROM authz_owners o
              USING unnest($1::text[], $2::text[]) AS g (resource_type, selector)
              WHERE o.resource_type = g.resource_type AND o.selector = g.selector",
        )
        .bind(kinds)
        .bind(selectors)
        .execute(transaction)
        .await
        .map_err(store_error("owner"))?;
        return Ok(Vec::new());
    };
    let ids: Vec<String> = resources.iter().map(|_| IntentId::generate().into_string()).collect();
    let rows = sqlx::query_as::<_, IntentRow>(concat!(
        "WITH gone AS (
             DELETE FROM authz_owners o
              USING unnest($1::text[], $2::text[]) AS g (resource_type, selector)
              WHERE o.resource_type = g.resource_type AND o.selector = g.selector
             RETURNING o.resource_type, o.selector, o.parent_selector, o.owner
         )
         INSERT INTO authz_intents AS i
                (id, resource_type, selector, parent_type, parent_selector, owner, step, attempts, created_at, due_at)
         SELECT g.id, g.resource_type, g.selector, CASE WHEN gone.parent_selector IS NOT NULL THEN 'agent' END,
                gone.parent_selector, COALESCE(gone.owner, $4), 'deregistering', 0, $5, $6
           FROM unnest($3::text[], $1::text[], $2::text[]) AS g (id, resource_type, selector)
           LEFT JOIN gone ON gone.resource_type = g.resource_type AND gone.selector = g.selector
             ON CONFLICT (resource_type, selector)
             DO UPDATE SET id = EXCLUDED.id, parent_type = EXCLUDED.parent_type,
                           parent_selector = EXCLUDED.parent_selector, owner = EXCLUDED.owner, step = EXCLUDED.step,
                           attempts = EXCLUDED.attempts, last_error = NULL, created_at = EXCLUDED.created_at,
                           due_at = EXCLUDED.due_at,
                           settle_at = CASE WHEN GREATEST(i.due_at, i.settle_at) > EXCLUDED.created_at
                                            THEN GREATEST(i.due_at, i.settle_at) END
         RETURNING ",
        intent_columns!()
    ))
    .bind(kinds)
    .bind(selectors)
    .bind(&ids)
    .bind(Json(by.as_json()))
    .bind(at.as_datetime())
    .bind(due_at.as_datetime())
    .fetch_all(transaction)
    .await
    .map_err(store_error("intent"))?;
    let place: HashMap<&str, usize> = ids.iter().enumerate().map(|(place, id)| (id.as_str(), place)).collect();
    let mut intents = rows.into_iter().map(Intent::try_from).collect::<Result<Vec<_>, _>>()?;
    intents.sort_by_key(|intent| place.get(intent.id.as_str()).copied());
    Ok(intents)
}
