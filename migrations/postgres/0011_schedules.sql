-- What the embedded scheduler keeps. Texts are compared as bytes.

CREATE TABLE schedule_timers (
    id              text COLLATE "C" NOT NULL,
    timing          jsonb NOT NULL,
    action          text NOT NULL,
    run_schedule_id text,
    paused          boolean NOT NULL,
    note            text,
    definition      jsonb,
    skipped         timestamptz[] NOT NULL,
    -- Null while there is nothing to wait for.
    next_at         timestamptz,
    actions_taken   bigint NOT NULL,
    missed          bigint NOT NULL,
    last_action_at  timestamptz,
    created_at      timestamptz NOT NULL,
    version         bigint NOT NULL,
    CONSTRAINT schedule_timers_pkey PRIMARY KEY (id),
    CONSTRAINT schedule_timers_action_check CHECK (action IN ('run', 'retention_sweep')),
    CONSTRAINT schedule_timers_run_check CHECK ((action = 'run') = (run_schedule_id IS NOT NULL))
);
CREATE INDEX ix_schedule_timers_next ON schedule_timers (next_at) WHERE next_at IS NOT NULL;

-- Each occurrence once. A timer that goes leaves its fires.
CREATE TABLE schedule_fires (
    id              text COLLATE "C" NOT NULL,
    timer_id        text COLLATE "C",
    action          text NOT NULL,
    run_schedule_id text,
    trigger_type    text NOT NULL,
    nominal_at      timestamptz NOT NULL,
    attempts        integer NOT NULL,
    -- When it may be claimed: its time, that of a retry, or the end of a lease.
    due_at          timestamptz NOT NULL,
    -- Counts claims.
    fence           bigint NOT NULL,
    last_error      text,
    finished_at     timestamptz,
    CONSTRAINT schedule_fires_pkey PRIMARY KEY (id),
    CONSTRAINT schedule_fires_action_check CHECK (action IN ('run', 'retention_sweep')),
    CONSTRAINT schedule_fires_run_check CHECK ((action = 'run') = (run_schedule_id IS NOT NULL)),
    CONSTRAINT schedule_fires_trigger_check CHECK (trigger_type IN ('scheduled', 'manual'))
);
CREATE INDEX ix_schedule_fires_due ON schedule_fires (due_at, id) WHERE finished_at IS NULL;
CREATE INDEX ix_schedule_fires_running ON schedule_fires (timer_id) WHERE finished_at IS NULL;
CREATE INDEX ix_schedule_fires_finished ON schedule_fires (finished_at) WHERE finished_at IS NOT NULL;

-- Agents whose health has been asked.
CREATE TABLE agent_checks (
    agent_id varchar NOT NULL,
    due_at   timestamptz NOT NULL,
    failures integer NOT NULL,
    CONSTRAINT agent_checks_pkey PRIMARY KEY (agent_id),
    CONSTRAINT agent_checks_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE
);
