use agentex_domain::JsonObject;
use agentex_domain::ports::StoreError;
use serde_json::Value;
use sqlx::types::Json;

use crate::error::{Unreadable, corrupt};

/// An object to store; `None` becomes SQL NULL, never JSON `null`.
pub(crate) fn to_column(object: Option<&JsonObject>) -> Option<Json<&JsonObject>> {
    object.map(Json)
}

/// The object in `column`. JSON `null`, which the reference writes for a missing value, is none.
pub(crate) fn from_column(
    table: &'static str,
    id: &str,
    column: &'static str,
    value: Option<Json<Value>>,
) -> Result<Option<JsonObject>, StoreError> {
    match value {
        None | Some(Json(Value::Null)) => Ok(None),
        Some(Json(Value::Object(object))) => Ok(Some(object)),
        Some(_) => Err(corrupt(table, id, Unreadable { column })),
    }
}
