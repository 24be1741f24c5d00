-- Spans of agents' work, and the saved states of graphs they run.

CREATE TABLE spans (
    id         TEXT NOT NULL PRIMARY KEY,
    trace_id   TEXT NOT NULL,
    task_id    TEXT REFERENCES tasks (id) ON DELETE SET NULL,
    parent_id  TEXT,
    name       TEXT NOT NULL,
    start_time INTEGER NOT NULL,
    end_time   INTEGER,
    -- An object or a list of objects.
    input      TEXT CHECK (json_type(input) IN ('object', 'array')),
    output     TEXT CHECK (json_type(output) IN ('object', 'array')),
    data       TEXT CHECK (json_type(data) IN ('object', 'array'))
) STRICT;

CREATE INDEX ix_spans_start ON spans (start_time, id);
CREATE INDEX ix_spans_task_start ON spans (task_id, start_time, id);
CREATE INDEX ix_spans_trace_start ON spans (trace_id, start_time, id);

-- Threads are tasks, but need not exist.
CREATE TABLE checkpoints (
    thread_id            TEXT NOT NULL,
    checkpoint_ns        TEXT NOT NULL,
    checkpoint_id        TEXT NOT NULL,
    parent_checkpoint_id TEXT,
    checkpoint           TEXT NOT NULL CHECK (json_type(checkpoint) = 'object'),
    metadata             TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id)
) STRICT;

CREATE TABLE checkpoint_blobs (
    thread_id     TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL,
    channel       TEXT NOT NULL,
    version       TEXT NOT NULL,
    type          TEXT NOT NULL,
    blob          BLOB,
    PRIMARY KEY (thread_id, checkpoint_ns, channel, version)
) STRICT;

CREATE TABLE checkpoint_writes (
    thread_id     TEXT NOT NULL,
    checkpoint_ns TEXT NOT NULL,
    checkpoint_id TEXT NOT NULL,
    -- A step of the graph, no task of this server.
    task_id       TEXT NOT NULL,
    idx           INTEGER NOT NULL,
    channel       TEXT NOT NULL,
    type          TEXT,
    blob          BLOB NOT NULL,
    task_path     TEXT NOT NULL,
    PRIMARY KEY (thread_id, checkpoint_ns, checkpoint_id, task_id, idx)
) STRICT;
