-- migrate: no-transaction
-- Names of API keys become unique within agent and kind, digests within the table. Older keys make way: they go on
-- working under another name. Making room belongs to this file, because another writer may need it again when a build
-- has failed.

SET statement_timeout = 0;

UPDATE agent_api_keys AS k
   SET name = left(k.name, 256 - 20) || ' (replaced ' || left(k.id, 8) || ')'
  FROM (SELECT id, agent_id,
               row_number() OVER (PARTITION BY agent_id, name, api_key_type
                                  ORDER BY created_at DESC NULLS LAST, id DESC) AS place
          FROM agent_api_keys) AS ranked
 WHERE ranked.id = k.id AND ranked.agent_id = k.agent_id AND ranked.place > 1;

-- Ids that begin alike, or a key that had such a name already.
UPDATE agent_api_keys AS k
   SET name = left(k.name, 256 - 44) || ' (replaced ' || md5(k.id) || ')'
  FROM (SELECT id, agent_id,
               row_number() OVER (PARTITION BY agent_id, name, api_key_type
                                  ORDER BY created_at DESC NULLS LAST, id DESC) AS place
          FROM agent_api_keys) AS ranked
 WHERE ranked.id = k.id AND ranked.agent_id = k.agent_id AND ranked.place > 1;

UPDATE agent_api_keys AS k
   SET api_key_digest = NULL
  FROM (SELECT id, agent_id,
               row_number() OVER (PARTITION BY api_key_digest ORDER BY created_at DESC NULLS LAST, id DESC) AS place
          FROM agent_api_keys
         WHERE api_key_digest IS NOT NULL) AS ranked
 WHERE ranked.id = k.id AND ranked.agent_id = k.agent_id AND ranked.place > 1;

CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS uq_agent_api_keys_agent_name_type
    ON agent_api_keys (agent_id, name, api_key_type);

CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS uq_agent_api_keys_api_key_digest
    ON agent_api_keys (api_key_digest) WHERE api_key_digest IS NOT NULL;

-- What they replace.
DROP INDEX CONCURRENTLY IF EXISTS ix_agent_api_keys_agent_name_type;

DROP INDEX CONCURRENTLY IF EXISTS ix_agent_api_keys_api_key_digest;

SET statement_timeout = '30s';
