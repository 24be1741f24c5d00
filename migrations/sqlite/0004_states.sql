-- What agents remember about tasks, and the order in which trackers are listed.

CREATE TABLE task_states (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT NOT NULL UNIQUE,
    task_id    TEXT NOT NULL REFERENCES tasks (id),
    -- Free text to other writers, so it refers to nothing.
    agent_id   TEXT NOT NULL,
    state      TEXT NOT NULL CHECK (json_type(state) = 'object'),
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX ix_task_states_task_agent ON task_states (task_id, agent_id, seq);
CREATE INDEX ix_task_states_agent ON task_states (agent_id, seq);
CREATE INDEX ix_task_states_task_created ON task_states (task_id, created_at, seq);

CREATE INDEX ix_agent_task_tracker_updated ON agent_task_tracker (updated_at, created_at, id);
