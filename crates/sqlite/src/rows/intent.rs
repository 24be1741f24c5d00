use agentex_authz::{Principal, ResourceRef};
use agentex_domain::ports::StoreError;
use agentex_domain::{Intent, IntentStep, Ownership};

use super::{RESOURCE_KINDS, Reader};

#[derive(sqlx::FromRow)]
pub(crate) struct IntentRow {
    id: String,
    resource_type: String,
    selector: String,
    parent_type: Option<String>,
    parent_selector: Option<String>,
    owner: String,
    step: String,
    attempts: u32,
    last_error: Option<String>,
    created_at: i64,
    due_at: i64,
}

/// The columns of [`IntentRow`].
macro_rules! intent_columns {
    () => {
        "authz_intents.id, authz_intents.resource_type, authz_intents.selector, authz_intents.parent_type, \
         authz_intents.parent_selector, authz_intents.owner, authz_intents.step, authz_intents.attempts, \
         authz_intents.last_error, authz_intents.created_at, authz_intents.due_at"
    };
}
pub(crate) use intent_columns;

impl TryFrom<IntentRow> for Intent {
    type Error = StoreError;

    fn try_from(row: IntentRow) -> Result<Self, StoreError> {
        let IntentRow {
            id,
            resource_type,
            selector,
            parent_type,
            parent_selector,
            owner,
            step,
            attempts,
            last_error,
            created_at,
            due_at,
        } = row;
        let read = Reader { table: "authz_intents", id: &id };
        let parent_kind = read.optional_word(parent_type.as_deref(), &RESOURCE_KINDS)?;
        Ok(Self {
            resource: ResourceRef { kind: read.word(&resource_type, &RESOURCE_KINDS)?, selector },
            parent: parent_kind.zip(parent_selector).map(|(kind, selector)| ResourceRef { kind, selector }),
            owner: Principal::from_json(read.json(&owner)?),
            step: read.word(&step, &IntentStep::ALL)?,
            attempts,
            last_error,
            created_at: read.time(created_at)?,
            due_at: read.time(due_at)?,
            id: id.into(),
        })
    }
}

#[derive(sqlx::FromRow)]
pub(crate) struct OwnershipRow {
    resource_type: String,
    selector: String,
    parent_selector: Option<String>,
    owner: String,
    created_at: i64,
}

/// The columns of [`OwnershipRow`], without their table: `RETURNING` knows only one.
macro_rules! ownership_columns {
    () => {
        "resource_type, selector, parent_selector, owner, created_at"
    };
}
pub(crate) use ownership_columns;

impl TryFrom<OwnershipRow> for Ownership {
    type Error = StoreError;

    fn try_from(row: OwnershipRow) -> Result<Self, StoreError> {
        let OwnershipRow { resource_type, selector, parent_selector, owner, created_at } = row;
        let read = Reader { table: "authz_owners", id: &selector };
        Ok(Self {
            parent: parent_selector.map(ResourceRef::agent),
            owner: Principal::from_json(read.json(&owner)?),
            created_at: read.time(created_at)?,
            resource: ResourceRef { kind: read.word(&resource_type, &RESOURCE_KINDS)?, selector },
        })
    }
}
