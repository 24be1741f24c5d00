-- Who owns what, what is still to be done in the authorization graph, permissions to register agents, and the rollout of
-- fine-grained authorization by account. API keys get unique names and digests.

CREATE TABLE authz_intents (
    id              TEXT NOT NULL PRIMARY KEY,
    resource_type   TEXT NOT NULL,
    selector        TEXT NOT NULL,
    parent_type     TEXT,
    parent_selector TEXT,
    -- An identity; never a credential.
    owner           TEXT NOT NULL CHECK (json_valid(owner)),
    step            TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    last_error      TEXT,
    created_at      INTEGER NOT NULL,
    due_at          INTEGER NOT NULL,
    -- Until then somebody may still be working on the intent that this one replaced.
    settle_at       INTEGER,
    CHECK ((parent_type IS NULL) = (parent_selector IS NULL)),
    UNIQUE (resource_type, selector)
) STRICT;

CREATE INDEX ix_authz_intents_due ON authz_intents (due_at, id);

CREATE TABLE authz_owners (
    resource_type   TEXT NOT NULL,
    selector        TEXT NOT NULL,
    -- An agent.
    parent_selector TEXT,
    owner           TEXT NOT NULL CHECK (json_valid(owner)),
    created_at      INTEGER NOT NULL,
    PRIMARY KEY (resource_type, selector)
) STRICT, WITHOUT ROWID;

CREATE TABLE registration_tokens (
    digest     TEXT NOT NULL PRIMARY KEY,
    agent_id   TEXT NOT NULL REFERENCES agents (id),
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX ix_registration_tokens_agent ON registration_tokens (agent_id);

CREATE TABLE authz_rollout (
    account_id TEXT NOT NULL PRIMARY KEY,
    dual_write INTEGER NOT NULL CHECK (dual_write IN (0, 1)),
    read       INTEGER NOT NULL CHECK (read IN (0, 1)),
    updated_at INTEGER NOT NULL,
    CHECK (NOT (read AND NOT dual_write))
) STRICT, WITHOUT ROWID;

-- The newest key of a name keeps it.
UPDATE agent_api_keys
   SET name = name || ' (replaced ' || substr(id, 1, 8) || ')'
 WHERE EXISTS (SELECT 1
                 FROM agent_api_keys AS newer
                WHERE newer.agent_id = agent_api_keys.agent_id
                  AND newer.name = agent_api_keys.name
                  AND newer.api_key_type = agent_api_keys.api_key_type
                  AND (newer.created_at, newer.id) > (agent_api_keys.created_at, agent_api_keys.id));

-- The same for digests: a look-up found the newest, and it still does.
UPDATE agent_api_keys
   SET api_key_digest = NULL
 WHERE EXISTS (SELECT 1
                 FROM agent_api_keys AS newer
                WHERE newer.api_key_digest = agent_api_keys.api_key_digest
                  AND (newer.created_at, newer.id) > (agent_api_keys.created_at, agent_api_keys.id));

DROP INDEX ix_agent_api_keys_agent_name_type;
DROP INDEX ix_agent_api_keys_api_key_digest;
CREATE UNIQUE INDEX uq_agent_api_keys_agent_name_type ON agent_api_keys (agent_id, name, api_key_type);
CREATE UNIQUE INDEX uq_agent_api_keys_digest ON agent_api_keys (api_key_digest) WHERE api_key_digest IS NOT NULL;
CREATE INDEX ix_agent_api_keys_agent_created ON agent_api_keys (agent_id, created_at, id);
