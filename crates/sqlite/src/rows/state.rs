use agentex_domain::TaskState;
use agentex_domain::ports::StoreError;

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct StateRow {
    id: String,
    task_id: String,
    agent_id: String,
    state: String,
    created_at: i64,
    updated_at: i64,
}

/// The columns of [`StateRow`].
macro_rules! state_columns {
    () => {
        "task_states.id, task_states.task_id, task_states.agent_id, task_states.state, task_states.created_at, \
         task_states.updated_at"
    };
}
pub(crate) use state_columns;

impl TryFrom<StateRow> for TaskState {
    type Error = StoreError;

    fn try_from(row: StateRow) -> Result<Self, StoreError> {
        let StateRow { id, task_id, agent_id, state, created_at, updated_at } = row;
        let read = Reader { table: "task_states", id: &id };
        Ok(Self {
            task_id: task_id.into(),
            agent_id: agent_id.into(),
            state: read.json(&state)?,
            created_at: read.time(created_at)?,
            updated_at: read.time(updated_at)?,
            id: id.into(),
        })
    }
}
