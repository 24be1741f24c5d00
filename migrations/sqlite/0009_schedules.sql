-- Run schedules, and what the embedded scheduler keeps.

CREATE TABLE agent_run_schedules (
    id                TEXT NOT NULL PRIMARY KEY,
    agent_id          TEXT NOT NULL REFERENCES agents (id),
    name              TEXT NOT NULL,
    description       TEXT,
    cron_expression   TEXT,
    interval_seconds  INTEGER CHECK (interval_seconds >= 1),
    timezone          TEXT NOT NULL,
    start_at          INTEGER,
    end_at            INTEGER,
    paused            INTEGER NOT NULL CHECK (paused IN (0, 1)),
    -- An identity; never a credential.
    creator_principal TEXT NOT NULL CHECK (json_type(creator_principal) = 'object'),
    task_params       TEXT CHECK (json_type(task_params) = 'object'),
    task_metadata     TEXT CHECK (json_type(task_metadata) = 'object'),
    initial_input     TEXT NOT NULL CHECK (json_type(initial_input) = 'object'),
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    deleted_at        INTEGER,
    version           INTEGER NOT NULL,
    CHECK ((cron_expression IS NULL) <> (interval_seconds IS NULL))
) STRICT;

CREATE UNIQUE INDEX uq_agent_run_schedules_active_agent_name
    ON agent_run_schedules (agent_id, name) WHERE deleted_at IS NULL;
CREATE INDEX ix_agent_run_schedules_agent_created
    ON agent_run_schedules (agent_id, created_at DESC, id DESC) WHERE deleted_at IS NULL;

CREATE TABLE schedule_timers (
    id              TEXT NOT NULL PRIMARY KEY,
    timing          TEXT NOT NULL CHECK (json_type(timing) = 'object'),
    action          TEXT NOT NULL CHECK (action IN ('run', 'retention_sweep')),
    run_schedule_id TEXT,
    paused          INTEGER NOT NULL CHECK (paused IN (0, 1)),
    note            TEXT,
    definition      TEXT CHECK (json_type(definition) = 'object'),
    -- Moments, in microseconds.
    skipped         TEXT NOT NULL CHECK (json_type(skipped) = 'array'),
    -- Null while there is nothing to wait for.
    next_at         INTEGER,
    actions_taken   INTEGER NOT NULL,
    missed          INTEGER NOT NULL,
    last_action_at  INTEGER,
    created_at      INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    CHECK ((action = 'run') = (run_schedule_id IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX ix_schedule_timers_next ON schedule_timers (next_at) WHERE next_at IS NOT NULL;

-- Each occurrence once. A timer that goes leaves its fires.
CREATE TABLE schedule_fires (
    id              TEXT NOT NULL PRIMARY KEY,
    timer_id        TEXT,
    action          TEXT NOT NULL CHECK (action IN ('run', 'retention_sweep')),
    run_schedule_id TEXT,
    trigger_type    TEXT NOT NULL CHECK (trigger_type IN ('scheduled', 'manual')),
    nominal_at      INTEGER NOT NULL,
    attempts        INTEGER NOT NULL,
    -- When it may be claimed: its time, that of a retry, or the end of a lease.
    due_at          INTEGER NOT NULL,
    -- Counts claims.
    fence           INTEGER NOT NULL,
    last_error      TEXT,
    finished_at     INTEGER,
    CHECK ((action = 'run') = (run_schedule_id IS NOT NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX ix_schedule_fires_due ON schedule_fires (due_at, id) WHERE finished_at IS NULL;
CREATE INDEX ix_schedule_fires_running ON schedule_fires (timer_id) WHERE finished_at IS NULL;
CREATE INDEX ix_schedule_fires_finished ON schedule_fires (finished_at) WHERE finished_at IS NOT NULL;

-- Agents whose health has been asked.
CREATE TABLE agent_checks (
    agent_id TEXT NOT NULL PRIMARY KEY REFERENCES agents (id) ON DELETE CASCADE,
    due_at   INTEGER NOT NULL,
    failures INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
