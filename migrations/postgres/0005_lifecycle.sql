-- What keeps rows and the authorization graph in step. Texts are compared as bytes. Nothing here holds a credential.

-- A change of the graph that is not finished: at most one per resource.
CREATE TABLE authz_intents (
    id              text COLLATE "C" NOT NULL,
    resource_type   text COLLATE "C" NOT NULL,
    selector        text COLLATE "C" NOT NULL,
    parent_type     text,
    parent_selector text,
    owner           jsonb NOT NULL,
    step            text NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    last_error      text,
    created_at      timestamptz NOT NULL,
    -- When it is driven next; until then it belongs to whoever set this.
    due_at          timestamptz NOT NULL,
    -- It took the place of one that somebody may be working on until then, and stays that long.
    settle_at       timestamptz,
    CONSTRAINT authz_intents_pkey PRIMARY KEY (id),
    CONSTRAINT authz_intents_resource_key UNIQUE (resource_type, selector),
    CONSTRAINT authz_intents_step_check
        CHECK (step IN ('registering', 'granting', 'registering_late', 'deregistering')),
    CONSTRAINT authz_intents_parent_check CHECK ((parent_type IS NULL) = (parent_selector IS NULL))
);
CREATE INDEX ix_authz_intents_due ON authz_intents (due_at, id);

-- Who owns what. Written and removed together with the row of the resource.
CREATE TABLE authz_owners (
    resource_type   text COLLATE "C" NOT NULL,
    selector        text COLLATE "C" NOT NULL,
    -- An agent: nothing else is a parent.
    parent_selector text,
    owner           jsonb NOT NULL,
    created_at      timestamptz NOT NULL,
    CONSTRAINT authz_owners_pkey PRIMARY KEY (resource_type, selector)
);

-- Permissions to register one agent, by keyed hash.
CREATE TABLE registration_tokens (
    digest     text COLLATE "C" NOT NULL,
    agent_id   varchar NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    CONSTRAINT registration_tokens_pkey PRIMARY KEY (digest),
    CONSTRAINT registration_tokens_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES agents (id) ON DELETE CASCADE
);
CREATE INDEX ix_registration_tokens_agent ON registration_tokens (agent_id);

-- How far an account has moved from one permission service to the other.
CREATE TABLE authz_rollout (
    account_id text COLLATE "C" NOT NULL,
    dual_write boolean NOT NULL,
    read       boolean NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT authz_rollout_pkey PRIMARY KEY (account_id),
    CONSTRAINT authz_rollout_read_check CHECK (NOT (read AND NOT dual_write))
);
