-- What was said in chats and is not carried out yet, and the names of deliveries by which a repeated one is known.

CREATE TABLE gateway_events (
    -- Events of one lane are carried out in this order.
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT NOT NULL UNIQUE,
    provider     TEXT NOT NULL,
    lane         TEXT NOT NULL,
    payload      TEXT NOT NULL CHECK (json_valid(payload)),
    progress     TEXT CHECK (json_valid(progress)),
    -- Null while nobody works on it.
    holder       TEXT,
    -- When it may be claimed: for a held one the end of the lease.
    available_at INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,
    created_at   INTEGER NOT NULL
) STRICT;

CREATE INDEX ix_gateway_events_lane ON gateway_events (lane, seq);

CREATE TABLE gateway_event_keys (
    key        TEXT NOT NULL PRIMARY KEY,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX ix_gateway_event_keys_expires ON gateway_event_keys (expires_at);
