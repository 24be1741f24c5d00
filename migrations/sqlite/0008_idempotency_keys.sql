-- Requests that were carried out under a caller's idempotency key, by hash. Bodies are sealed where secrets are.

CREATE TABLE idempotency_keys (
    digest      TEXT NOT NULL PRIMARY KEY,
    request     TEXT NOT NULL,
    holder      TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    -- Null while the request is being carried out.
    status      INTEGER,
    headers     TEXT CHECK (json_valid(headers)),
    -- Null also where the answer was not kept.
    body        TEXT,
    CHECK ((status IS NULL) = (headers IS NULL)),
    CHECK (status IS NOT NULL OR body IS NULL)
) STRICT;

CREATE INDEX ix_idempotency_keys_expires ON idempotency_keys (expires_at);
