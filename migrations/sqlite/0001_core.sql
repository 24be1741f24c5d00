-- Agents, their deployments and keys; tasks with their messages and events.
--
-- Times are microseconds since 1970-01-01 UTC, JSON is text that is checked on the way in, words are the API's.

CREATE TABLE agents (
    id                       TEXT NOT NULL PRIMARY KEY,
    name                     TEXT NOT NULL,
    description              TEXT NOT NULL,
    docker_image             TEXT,
    status                   TEXT NOT NULL,
    status_reason            TEXT,
    acp_url                  TEXT,
    acp_type                 TEXT NOT NULL DEFAULT 'async',
    created_at               INTEGER NOT NULL,
    updated_at               INTEGER NOT NULL,
    registration_metadata    TEXT CHECK (json_type(registration_metadata) = 'object'),
    registered_at            INTEGER,
    agent_input_type         TEXT,
    production_deployment_id TEXT REFERENCES deployments (id)
) STRICT;

CREATE UNIQUE INDEX ix_agents_name ON agents (name);

CREATE TABLE deployments (
    id                    TEXT NOT NULL PRIMARY KEY,
    agent_id              TEXT NOT NULL REFERENCES agents (id),
    docker_image          TEXT NOT NULL,
    registration_metadata TEXT CHECK (json_type(registration_metadata) = 'object'),
    status                TEXT NOT NULL DEFAULT 'Pending',
    acp_url               TEXT,
    is_production         INTEGER NOT NULL DEFAULT 0 CHECK (is_production IN (0, 1)),
    sgp_deploy_id         TEXT,
    helm_release_name     TEXT,
    created_at            INTEGER NOT NULL,
    promoted_at           INTEGER,
    expires_at            INTEGER
) STRICT;

CREATE INDEX idx_deployments_agent_production ON deployments (agent_id, is_production);
CREATE UNIQUE INDEX uq_deployments_one_production_per_agent ON deployments (agent_id) WHERE is_production = 1;

CREATE TABLE agent_api_keys (
    id             TEXT NOT NULL PRIMARY KEY,
    agent_id       TEXT NOT NULL REFERENCES agents (id),
    name           TEXT NOT NULL,
    api_key_type   TEXT NOT NULL,
    api_key        TEXT NOT NULL,
    api_key_digest TEXT,
    created_at     INTEGER NOT NULL
) STRICT;

CREATE INDEX ix_agent_api_keys_agent_name_type ON agent_api_keys (agent_id, name, api_key_type);
CREATE INDEX ix_agent_api_keys_api_key_digest ON agent_api_keys (api_key_digest);
CREATE INDEX ix_agent_api_keys_api_key ON agent_api_keys (api_key) WHERE api_key_digest IS NULL;

CREATE TABLE tasks (
    id            TEXT NOT NULL PRIMARY KEY,
    name          TEXT,
    status        TEXT NOT NULL,
    status_reason TEXT,
    created_at    INTEGER NOT NULL,
    updated_at    INTEGER NOT NULL,
    cleaned_at    INTEGER,
    params        TEXT CHECK (json_type(params) = 'object'),
    task_metadata TEXT CHECK (json_type(task_metadata) = 'object')
) STRICT;

CREATE UNIQUE INDEX ix_tasks_name ON tasks (name);
CREATE INDEX ix_tasks_updated_created ON tasks (updated_at, created_at, id);

CREATE TABLE task_agents (
    task_id    TEXT NOT NULL REFERENCES tasks (id),
    agent_id   TEXT NOT NULL REFERENCES agents (id),
    created_at INTEGER NOT NULL,
    PRIMARY KEY (task_id, agent_id)
) STRICT, WITHOUT ROWID;

CREATE INDEX ix_task_agents_agent_task ON task_agents (agent_id, task_id);

CREATE TABLE agent_task_tracker (
    id                      TEXT NOT NULL PRIMARY KEY,
    agent_id                TEXT NOT NULL REFERENCES agents (id),
    task_id                 TEXT NOT NULL REFERENCES tasks (id),
    status                  TEXT,
    status_reason           TEXT,
    last_processed_event_id TEXT,
    created_at              INTEGER NOT NULL,
    updated_at              INTEGER NOT NULL
) STRICT;

CREATE INDEX idx_agent_task_tracker_agent_task ON agent_task_tracker (agent_id, task_id);
CREATE INDEX ix_agent_task_tracker_task ON agent_task_tracker (task_id);

CREATE TABLE events (
    sequence_id INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    task_id     TEXT NOT NULL REFERENCES tasks (id),
    agent_id    TEXT NOT NULL REFERENCES agents (id),
    content     TEXT CHECK (json_type(content) = 'object'),
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX idx_events_agent_task_order ON events (agent_id, task_id, sequence_id);
CREATE INDEX ix_events_task ON events (task_id, sequence_id);

CREATE TABLE task_messages (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    task_id          TEXT NOT NULL REFERENCES tasks (id),
    content          TEXT NOT NULL CHECK (json_type(content) = 'object'),
    streaming_status TEXT CHECK (streaming_status IN ('IN_PROGRESS', 'DONE')),
    created_at       INTEGER NOT NULL,
    updated_at       INTEGER NOT NULL
) STRICT;

CREATE INDEX ix_task_messages_task_created ON task_messages (task_id, created_at, seq);
CREATE INDEX ix_task_messages_task_streaming ON task_messages (task_id) WHERE streaming_status = 'IN_PROGRESS';
