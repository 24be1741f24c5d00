-- What was said in chats and is not carried out yet, and the names of deliveries by which a repeated one is known.
CREATE TABLE gateway_events (
    -- Events of one lane are carried out in this order.
    seq          bigint GENERATED ALWAYS AS IDENTITY,
    id           text COLLATE "C" NOT NULL,
    provider     text NOT NULL,
    lane         text COLLATE "C" NOT NULL,
    payload      jsonb NOT NULL,
    progress     jsonb,
    -- Null while nobody works on it.
    holder       text COLLATE "C",
    -- When it may be claimed: for a held one the end of the lease.
    available_at timestamptz NOT NULL,
    attempts     integer NOT NULL,
    created_at   timestamptz NOT NULL,
    CONSTRAINT gateway_events_pkey PRIMARY KEY (seq),
    CONSTRAINT gateway_events_id_key UNIQUE (id)
);
CREATE INDEX ix_gateway_events_lane ON gateway_events (lane, seq);

CREATE TABLE gateway_event_keys (
    key        text COLLATE "C" NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT gateway_event_keys_pkey PRIMARY KEY (key)
);
CREATE INDEX ix_gateway_event_keys_expires ON gateway_event_keys (expires_at);
