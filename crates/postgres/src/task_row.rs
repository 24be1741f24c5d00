use agentex_domain::ports::StoreError;
use agentex_domain::{Task, TaskStatus, Timestamp};
use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::types::Json;

use crate::error::{Unreadable, corrupt};
use crate::json;

/// The columns of [`TaskRow`], of the table called `t`. A literal, so that statements stay constants.
macro_rules! task_columns {
    () => {
        "t.id, t.name, t.status::text AS status, t.status_reason,
         COALESCE(t.created_at, t.updated_at, 'epoch') AS created_at,
         COALESCE(t.updated_at, t.created_at, 'epoch') AS updated_at,
         t.cleaned_at, t.params, t.task_metadata"
    };
}
pub(crate) use task_columns;

#[derive(sqlx::FromRow)]
pub(crate) struct TaskRow {
    id: String,
    name: Option<String>,
    status: Option<String>,
    status_reason: Option<String>,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    cleaned_at: Option<DateTime<Utc>>,
    params: Option<Json<Value>>,
    task_metadata: Option<Json<Value>>,
}

impl TryFrom<TaskRow> for Task {
    type Error = StoreError;

    fn try_from(row: TaskRow) -> Result<Self, StoreError> {
        let TaskRow { id, name, status, status_reason, created_at, updated_at, cleaned_at, params, task_metadata } =
            row;
        Ok(Self {
            status: status
                .as_deref()
                .and_then(TaskStatus::parse)
                .ok_or_else(|| corrupt("tasks", &id, Unreadable { column: "status" }))?,
            params: json::from_column("tasks", &id, "params", params)?,
            task_metadata: json::from_column("tasks", &id, "task_metadata", task_metadata)?,
            id: id.into(),
            name,
            status_reason,
            created_at: Timestamp::new(created_at),
            updated_at: Timestamp::new(updated_at),
            cleaned_at: cleaned_at.map(Timestamp::new),
        })
    }
}
