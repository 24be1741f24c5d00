-- What this server adds to the reference's schema. Everything is additive: the reference keeps working on the
-- database.

CREATE TABLE task_messages (
    id               varchar NOT NULL,
    -- Insertion order: the tie-breaker wherever two messages have the same time.
    seq              bigint GENERATED ALWAYS AS IDENTITY,
    task_id          varchar NOT NULL,
    content          jsonb NOT NULL,
    streaming_status text,
    created_at       timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    CONSTRAINT task_messages_pkey PRIMARY KEY (id),
    CONSTRAINT task_messages_seq_key UNIQUE (seq),
    CONSTRAINT task_messages_task_id_fkey FOREIGN KEY (task_id) REFERENCES tasks (id),
    CONSTRAINT task_messages_streaming_status_check CHECK (streaming_status IN ('IN_PROGRESS', 'DONE'))
);
CREATE INDEX ix_task_messages_task_created ON task_messages (task_id, created_at, seq);
CREATE INDEX ix_task_messages_task_type_created ON task_messages (task_id, (content ->> 'type'), created_at);
CREATE INDEX ix_task_messages_task_streaming
    ON task_messages (task_id, streaming_status) WHERE streaming_status = 'IN_PROGRESS';

CREATE TABLE task_states (
    id         varchar NOT NULL,
    seq        bigint GENERATED ALWAYS AS IDENTITY,
    task_id    varchar NOT NULL,
    -- Free text in the reference, so it refers to nothing here either.
    agent_id   varchar NOT NULL,
    state      jsonb NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT task_states_pkey PRIMARY KEY (id),
    CONSTRAINT task_states_seq_key UNIQUE (seq),
    CONSTRAINT task_states_task_id_fkey FOREIGN KEY (task_id) REFERENCES tasks (id),
    CONSTRAINT task_states_state_check CHECK (jsonb_typeof(state) = 'object')
);
CREATE INDEX ix_task_states_task_agent ON task_states (task_id, agent_id);
CREATE INDEX ix_task_states_agent ON task_states (agent_id);
CREATE INDEX ix_task_states_task_created ON task_states (task_id, created_at, seq);

-- Authorization writes that are still owed. Rows hold identity selectors, never credentials.
CREATE TABLE authz_outbox (
    id              bigint GENERATED ALWAYS AS IDENTITY,
    operation       text NOT NULL,
    resource_type   text NOT NULL,
    selector        text NOT NULL,
    parent_type     text,
    parent_selector text,
    principal       jsonb,
    attempts        integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    created_at      timestamptz NOT NULL DEFAULT now(),
    done_at         timestamptz,
    last_error      text,
    CONSTRAINT authz_outbox_pkey PRIMARY KEY (id),
    CONSTRAINT authz_outbox_operation_check CHECK (operation IN ('register', 'deregister', 'grant', 'revoke'))
);
CREATE INDEX ix_authz_outbox_due ON authz_outbox (next_attempt_at) WHERE done_at IS NULL;

-- Keyed hash for look-ups; rows written by the reference have none.
ALTER TABLE agent_api_keys ADD COLUMN api_key_digest varchar;
