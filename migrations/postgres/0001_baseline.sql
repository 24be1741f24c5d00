-- The schema of the reference server at alembic revision a1b2c3d4e5f6. Applied to an empty database only: where the
-- reference has been at work, the ledger records this file as applied without running it. Names, types, defaults and
-- even redundant indexes are the reference's, so that either server can run on the result.

CREATE TYPE agentstatus AS ENUM
    ('PENDING', 'BUILDING', 'READY', 'FAILED', 'UNKNOWN', 'DELETED', 'UNHEALTHY', 'BUILD_ONLY');
CREATE TYPE taskstatus AS ENUM
    ('CANCELED', 'COMPLETED', 'FAILED', 'RUNNING', 'TERMINATED', 'TIMED_OUT', 'DELETED', 'INTERRUPTED');
CREATE TYPE agentapikeytype AS ENUM ('INTERNAL', 'EXTERNAL', 'GITHUB', 'SLACK');
CREATE TYPE agentinputtype AS ENUM ('TEXT', 'JSON');
CREATE TYPE deploymentstatus AS ENUM ('PENDING', 'READY', 'FAILED');
-- No column uses it; the reference left it behind.
CREATE TYPE packagingmethod AS ENUM ('DOCKER');

CREATE TABLE agents (
    id                       varchar NOT NULL,
    name                     varchar NOT NULL,
    description              text NOT NULL,
    docker_image             varchar,
    status                   agentstatus NOT NULL,
    status_reason            text,
    acp_url                  varchar,
    acp_type                 varchar NOT NULL DEFAULT 'async',
    created_at               timestamptz DEFAULT now(),
    updated_at               timestamptz DEFAULT now(),
    registration_metadata    jsonb,
    registered_at            timestamptz,
    agent_input_type         agentinputtype,
    production_deployment_id varchar,
    CONSTRAINT agents_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_agents_name ON agents (name);
CREATE INDEX ix_agents_status ON agents (status);

CREATE TABLE tasks (
    id            varchar NOT NULL,
    name          varchar,
    status        taskstatus,
    status_reason text,
    created_at    timestamptz DEFAULT now(),
    updated_at    timestamptz DEFAULT now(),
    cleaned_at    timestamptz,
    params        jsonb,
    task_metadata jsonb,
    CONSTRAINT tasks_pkey PRIMARY KEY (id)
);
CREATE UNIQUE INDEX ix_tasks_name ON tasks (name);
CREATE INDEX ix_tasks_status ON tasks (status);
CREATE INDEX ix_tasks_metadata_gin ON tasks USING gin (task_metadata jsonb_path_ops);

CREATE TABLE task_agents (
    task_id    varchar NOT NULL,
    agent_id   varchar NOT NULL,
    created_at timestamptz DEFAULT now(),
    CONSTRAINT task_agents_pkey PRIMARY KEY (task_id, agent_id),
    CONSTRAINT task_agents_task_id_fkey FOREIGN KEY (task_id) REFERENCES tasks (id),
    CONSTRAINT task_agents_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id)
);

CREATE TABLE events (
    sequence_id bigserial NOT NULL,
    id          varchar NOT NULL,
    task_id     varchar NOT NULL,
    agent_id    varchar NOT NULL,
    content     jsonb,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT events_pkey PRIMARY KEY (sequence_id),
    CONSTRAINT events_id_key UNIQUE (id),
    CONSTRAINT events_task_id_fkey FOREIGN KEY (task_id) REFERENCES tasks (id),
    CONSTRAINT events_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id)
);
CREATE INDEX idx_events_agent_task_order ON events (agent_id, task_id, sequence_id);
CREATE INDEX idx_events_agent_order ON events (agent_id, sequence_id);

CREATE TABLE agent_task_tracker (
    id                      varchar NOT NULL,
    agent_id                varchar NOT NULL,
    task_id                 varchar NOT NULL,
    created_at              timestamptz DEFAULT now(),
    updated_at              timestamptz DEFAULT now(),
    status                  text,
    status_reason           text,
    last_processed_event_id varchar,
    CONSTRAINT agent_task_tracker_pkey PRIMARY KEY (id, agent_id, task_id),
    CONSTRAINT agent_task_tracker_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id),
    CONSTRAINT agent_task_tracker_task_id_fkey FOREIGN KEY (task_id) REFERENCES tasks (id)
);
CREATE INDEX idx_agent_task_tracker_agent_task ON agent_task_tracker (agent_id, task_id);

CREATE TABLE spans (
    id         varchar NOT NULL,
    trace_id   varchar NOT NULL,
    task_id    varchar,
    parent_id  varchar,
    name       varchar NOT NULL,
    start_time timestamptz NOT NULL,
    end_time   timestamptz,
    input      json,
    output     json,
    data       json,
    CONSTRAINT spans_pkey PRIMARY KEY (id)
);
-- The reference never validated it; NOT VALID still checks every new row.
ALTER TABLE spans
    ADD CONSTRAINT fk_spans_task_id_tasks FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE SET NULL NOT VALID;
CREATE INDEX ix_spans_trace_id ON spans (trace_id);
CREATE INDEX ix_spans_trace_id_start_time ON spans (trace_id, start_time);
CREATE INDEX ix_spans_parent_id ON spans (parent_id);
CREATE INDEX ix_spans_task_id ON spans (task_id);

CREATE TABLE agent_api_keys (
    id           varchar NOT NULL,
    agent_id     varchar(64) NOT NULL,
    created_at   timestamptz DEFAULT now(),
    name         varchar(256) NOT NULL,
    api_key_type agentapikeytype NOT NULL,
    api_key      varchar NOT NULL,
    CONSTRAINT agent_api_keys_pkey PRIMARY KEY (id, agent_id),
    CONSTRAINT agent_api_keys_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id)
);
CREATE INDEX idx_agent_api_keys_agent ON agent_api_keys (agent_id);
CREATE INDEX ix_agent_api_keys_name ON agent_api_keys (name);
CREATE INDEX ix_agent_api_keys_api_key ON agent_api_keys (api_key);

CREATE TABLE agent_run_schedules (
    id                varchar NOT NULL,
    agent_id          varchar(64) NOT NULL,
    name              varchar(256) NOT NULL,
    description       text,
    cron_expression   varchar,
    interval_seconds  integer,
    timezone          varchar NOT NULL DEFAULT 'UTC',
    start_at          timestamptz,
    end_at            timestamptz,
    paused            boolean NOT NULL DEFAULT false,
    creator_principal json NOT NULL,
    task_params       json,
    task_metadata     json,
    initial_input     json NOT NULL,
    created_at        timestamptz DEFAULT now(),
    updated_at        timestamptz DEFAULT now(),
    deleted_at        timestamptz,
    version           integer NOT NULL DEFAULT 1,
    CONSTRAINT agent_run_schedules_pkey PRIMARY KEY (id),
    CONSTRAINT agent_run_schedules_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id)
);
CREATE UNIQUE INDEX uq_agent_run_schedules_active_agent_name
    ON agent_run_schedules (agent_id, name) WHERE deleted_at IS NULL;
CREATE INDEX idx_agent_run_schedules_agent ON agent_run_schedules (agent_id);

CREATE TABLE deployment_history (
    id                   varchar NOT NULL,
    agent_id             varchar(64) NOT NULL,
    author_name          varchar NOT NULL,
    author_email         varchar NOT NULL,
    branch_name          varchar NOT NULL,
    build_timestamp      timestamptz NOT NULL,
    deployment_timestamp timestamptz NOT NULL,
    commit_hash          varchar NOT NULL,
    CONSTRAINT deployment_history_pkey PRIMARY KEY (id, agent_id),
    CONSTRAINT deployment_history_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id)
);
CREATE INDEX idx_deployment_history_agent ON deployment_history (agent_id);
CREATE INDEX ix_deployment_history_commit_hash ON deployment_history (commit_hash);

CREATE TABLE deployments (
    id                    varchar NOT NULL,
    agent_id              varchar(64) NOT NULL,
    docker_image          varchar NOT NULL,
    registration_metadata jsonb,
    status                deploymentstatus NOT NULL DEFAULT 'PENDING',
    acp_url               varchar,
    is_production         boolean NOT NULL DEFAULT false,
    sgp_deploy_id         varchar,
    helm_release_name     varchar,
    created_at            timestamptz DEFAULT now(),
    promoted_at           timestamptz,
    expires_at            timestamptz,
    CONSTRAINT deployments_pkey PRIMARY KEY (id),
    CONSTRAINT deployments_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id)
);
CREATE INDEX idx_deployments_agent_id ON deployments (agent_id);
CREATE INDEX idx_deployments_agent_production ON deployments (agent_id, is_production);
CREATE UNIQUE INDEX uq_deployments_one_production_per_agent ON deployments (agent_id) WHERE is_production;
CREATE INDEX idx_deployments_sgp_deploy_id ON deployments (sgp_deploy_id);

-- The two tables point at each other, so one of the keys comes late.
ALTER TABLE agents
    ADD CONSTRAINT fk_agents_production_deployment FOREIGN KEY (production_deployment_id) REFERENCES deployments (id);

CREATE TABLE checkpoint_migrations (
    v integer NOT NULL,
    CONSTRAINT checkpoint_migrations_pkey PRIMARY KEY (v)
);
-- Tells LangGraph's own set-up that there is nothing left for it to migrate.
INSERT INTO checkpoint_migrations (v) SELECT generate_series(0, 9);

CREATE TABLE checkpoints (
    thread_id            text NOT NULL,
    checkpoint_ns        text NOT NULL DEFAULT '',
    checkpoint_id        text NOT NULL,
    parent_checkpoint_id text,
    type                 text,
    checkpoint           jsonb NOT NULL,
    metadata             jsonb NOT NULL DEFAULT '{}',
    CONSTRAINT checkpoints_pkey PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
);
CREATE INDEX checkpoints_thread_id_idx ON checkpoints (thread_id);

CREATE TABLE checkpoint_blobs (
    thread_id     text NOT NULL,
    checkpoint_ns text NOT NULL DEFAULT '',
    channel       text NOT NULL,
    version       text NOT NULL,
    type          text NOT NULL,
    blob          bytea,
    CONSTRAINT checkpoint_blobs_pkey PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
);
CREATE INDEX checkpoint_blobs_thread_id_idx ON checkpoint_blobs (thread_id);

CREATE TABLE checkpoint_writes (
    thread_id     text NOT NULL,
    checkpoint_ns text NOT NULL DEFAULT '',
    checkpoint_id text NOT NULL,
    task_id       text NOT NULL,
    idx           integer NOT NULL,
    channel       text NOT NULL,
    type          text,
    blob          bytea NOT NULL,
    task_path     text NOT NULL DEFAULT '',
    CONSTRAINT checkpoint_writes_pkey PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
);
CREATE INDEX checkpoint_writes_thread_id_idx ON checkpoint_writes (thread_id);

-- The reference's own ledger, at its head: its tools find nothing to do here.
CREATE TABLE alembic_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO alembic_version (version_num) VALUES ('a1b2c3d4e5f6');
