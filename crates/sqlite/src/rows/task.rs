use agentex_domain::ports::StoreError;
use agentex_domain::{Task, TaskStatus};

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct TaskRow {
    id: String,
    name: Option<String>,
    status: String,
    status_reason: Option<String>,
    created_at: i64,
    updated_at: i64,
    cleaned_at: Option<i64>,
    params: Option<String>,
    task_metadata: Option<String>,
}

/// The columns of [`TaskRow`].
macro_rules! task_columns {
    () => {
        "tasks.id, tasks.name, tasks.status, tasks.status_reason, tasks.created_at, tasks.updated_at, \
         tasks.cleaned_at, tasks.params, tasks.task_metadata"
    };
}
pub(crate) use task_columns;

impl TryFrom<TaskRow> for Task {
    type Error = StoreError;

    fn try_from(row: TaskRow) -> Result<Self, StoreError> {
        let TaskRow { id, name, status, status_reason, created_at, updated_at, cleaned_at, params, task_metadata } =
            row;
        let read = Reader { table: "tasks", id: &id };
        Ok(Self {
            name,
            status: read.word(&status, &TaskStatus::ALL)?,
            status_reason,
            created_at: read.time(created_at)?,
            updated_at: read.time(updated_at)?,
            cleaned_at: read.optional_time(cleaned_at)?,
            params: read.optional_object(params)?,
            task_metadata: read.optional_object(task_metadata)?,
            id: id.into(),
        })
    }
}
