use agentex_authz::{Principal, ResourceRef};
use agentex_domain::ports::StoreError;
use agentex_domain::{Intent, IntentStep, Timestamp};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

use crate::error::{Unreadable, corrupt};
use crate::labels;

/// The columns of [`IntentRow`], of the table called `i`. A literal, so that statements stay constants.
macro_rules! intent_columns {
    () => {
        "i.id, i.resource_type, i.selector, i.parent_type, i.parent_selector, i.owner, i.step, i.attempts,
         i.last_error, i.created_at, i.due_at"
    };
}
pub(crate) use intent_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct IntentRow {
    id: String,
    resource_type: String,
    selector: String,
    parent_type: Option<String>,
    parent_selector: Option<String>,
    owner: Json<Value>,
    step: String,
    attempts: i32,
    last_error: Option<String>,
    created_at: DateTime<Utc>,
    due_at: DateTime<Utc>,
}

impl TryFrom<IntentRow> for Intent {
    type Error = StoreError;

    fn try_from(row: IntentRow) -> Result<Self, StoreError> {
        let IntentRow {
            id,
            resource_type,
            selector,
            parent_type,
            parent_selector,
            owner: Json(owner),
            step,
            attempts,
            last_error,
            created_at,
            due_at,
        } = row;
        let unreadable = |column| corrupt("authz_intents", &id, Unreadable { column });
        let kind = |text: &str, column| labels::read_resource_kind(text).ok_or_else(|| unreadable(column));
        let parent = match (parent_type, parent_selector) {
            (Some(parent), Some(selector)) => Some(ResourceRef { kind: kind(&parent, "parent_type")?, selector }),
            _ => None,
        };
        Ok(Self {
            resource: ResourceRef { kind: kind(&resource_type, "resource_type")?, selector },
            parent,
            owner: Principal::from_json(owner),
            step: IntentStep::parse(&step).ok_or_else(|| unreadable("step"))?,
            attempts: u32::try_from(attempts).map_err(|_| unreadable("attempts"))?,
            id: id.into(),
            last_error,
            created_at: Timestamp::new(created_at),
            due_at: Timestamp::new(due_at),
        })
    }
}
