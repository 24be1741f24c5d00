-- Requests that were carried out under a caller's idempotency key, by hash. Bodies are sealed where secrets are.
CREATE TABLE idempotency_keys (
    digest      text COLLATE "C" NOT NULL,
    request     text COLLATE "C" NOT NULL,
    holder      text COLLATE "C" NOT NULL,
    lease_until timestamptz NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    -- Null while the request is being carried out.
    status      integer,
    headers     jsonb,
    -- Null also where the answer was not kept.
    body        text,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (digest),
    CONSTRAINT idempotency_keys_headers_check CHECK ((status IS NULL) = (headers IS NULL)),
    CONSTRAINT idempotency_keys_body_check CHECK (status IS NOT NULL OR body IS NULL)
);
CREATE INDEX ix_idempotency_keys_expires ON idempotency_keys (expires_at);
