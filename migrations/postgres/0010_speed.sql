-- migrate: no-transaction
-- Relationships are written by a function, so that several writes are one round trip and the row that writers queue for
-- is locked for no longer than the work takes. Tasks remember the transaction that changed them last, so that a list in
-- memory can be brought up to date by what changed since.

-- Makes writes happen in their order, each as if it came alone: of each, all or nothing, and each sees those before it.
-- Answers one row for each: `changed` with its own revision, `unchanged` with the current one, or `refused`.
CREATE OR REPLACE FUNCTION authz_write(writes jsonb) RETURNS TABLE (outcome text, at_revision bigint)
LANGUAGE plpgsql AS $$
DECLARE
    -- About how many revisions are remembered for those who follow, and how many are forgotten at once.
    remembered CONSTANT bigint := 100000;
    forgotten_together CONSTANT bigint := 1000;
    before bigint;
    current bigint;
    part jsonb;
    made bigint;
    changes bigint;
BEGIN
    -- The lock on the row comes first: writers take their turns, so revisions are committed in their order, and what the
    -- following statements see, each for itself, stays true until the end.
    SELECT r.revision INTO STRICT before FROM authz_revision r FOR UPDATE;
    current := before;
    FOR part IN SELECT w.value FROM jsonb_array_elements(writes) WITH ORDINALITY AS w (value, place) ORDER BY w.place
    LOOP
        at_revision := current;
        IF jsonb_array_length(part -> 'preconditions') > 0 AND EXISTS (
            SELECT 1
              FROM jsonb_to_recordset(part -> 'preconditions')
                   AS e (resource_kind text, resource_id text, relation text, subject_kind text, subject_id text,
                         subject_relation text)
             WHERE EXISTS (SELECT 1
                             FROM authz_relationships r
                            WHERE r.resource_kind = e.resource_kind
                              AND r.resource_id = e.resource_id
                              AND r.relation = e.relation)
               AND NOT EXISTS (SELECT 1
                                 FROM authz_relationships r
                                WHERE r.resource_kind = e.resource_kind
                                  AND r.resource_id = e.resource_id
                                  AND r.relation = e.relation
                                  AND r.subject_kind = e.subject_kind
                                  AND r.subject_id = e.subject_id
                                  AND r.subject_relation = e.subject_relation)
        ) THEN
            outcome := 'refused';
            RETURN NEXT;
            CONTINUE;
        END IF;

        changes := 0;
        IF jsonb_array_length(part -> 'clear') > 0 THEN
            WITH gone AS (
                DELETE FROM authz_relationships r
                 USING jsonb_to_recordset(part -> 'clear') AS o (kind text, id text)
                 WHERE r.resource_kind = o.kind AND r.resource_id = o.id
                RETURNING r.*
            )
            INSERT INTO authz_relationship_changes
                   (revision, action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                    caveat_account)
            SELECT current + 1, 'remove', g.resource_kind, g.resource_id, g.relation, g.subject_kind, g.subject_id,
                   g.subject_relation, g.caveat_account
              FROM gone g;
            GET DIAGNOSTICS made = ROW_COUNT;
            changes := changes + made;
        END IF;
        IF jsonb_array_length(part -> 'remove') > 0 THEN
            WITH gone AS (
                DELETE FROM authz_relationships r
                 USING jsonb_to_recordset(part -> 'remove')
                       AS e (resource_kind text, resource_id text, relation text, subject_kind text, subject_id text,
                             subject_relation text)
                 WHERE r.resource_kind = e.resource_kind
                   AND r.resource_id = e.resource_id
                   AND r.relation = e.relation
                   AND r.subject_kind = e.subject_kind
                   AND r.subject_id = e.subject_id
                   AND r.subject_relation = e.subject_relation
                RETURNING r.*
            )
            INSERT INTO authz_relationship_changes
                   (revision, action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                    caveat_account)
            SELECT current + 1, 'remove', g.resource_kind, g.resource_id, g.relation, g.subject_kind, g.subject_id,
                   g.subject_relation, g.caveat_account
              FROM gone g;
            GET DIAGNOSTICS made = ROW_COUNT;
            changes := changes + made;
        END IF;
        IF jsonb_array_length(part -> 'touch') > 0 THEN
            -- Of several that differ in their caveat only, the last one counts.
            WITH changed AS (
                INSERT INTO authz_relationships AS r
                       (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                        caveat_account)
                SELECT DISTINCT ON (1, 2, 3, 4, 5, 6)
                       t.value ->> 'resource_kind', t.value ->> 'resource_id', t.value ->> 'relation',
                       t.value ->> 'subject_kind', t.value ->> 'subject_id', t.value ->> 'subject_relation',
                       t.value ->> 'caveat_account'
                  FROM jsonb_array_elements(part -> 'touch') WITH ORDINALITY AS t (value, place)
                 ORDER BY 1, 2, 3, 4, 5, 6, t.place DESC
                    ON CONFLICT ON CONSTRAINT authz_relationships_pkey
                    DO UPDATE SET caveat_account = EXCLUDED.caveat_account
                 WHERE r.caveat_account IS DISTINCT FROM EXCLUDED.caveat_account
                RETURNING r.*
            )
            INSERT INTO authz_relationship_changes
                   (revision, action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                    caveat_account)
            SELECT current + 1, 'touch', c.resource_kind, c.resource_id, c.relation, c.subject_kind, c.subject_id,
                   c.subject_relation, c.caveat_account
              FROM changed c;
            GET DIAGNOSTICS made = ROW_COUNT;
            changes := changes + made;
        END IF;

        IF changes > 0 THEN
            current := current + 1;
            at_revision := current;
            outcome := 'changed';
        ELSE
            outcome := 'unchanged';
        END IF;
        RETURN NEXT;
    END LOOP;

    IF current > before THEN
        UPDATE authz_revision r SET revision = current;
    END IF;
    IF current / forgotten_together > before / forgotten_together AND current > remembered THEN
        DELETE FROM authz_relationship_changes c WHERE c.revision <= current - remembered;
        UPDATE authz_revision r SET forgotten = current - remembered;
    END IF;
END;
$$;

ALTER TABLE tasks ADD COLUMN IF NOT EXISTS changed_in xid8;

CREATE OR REPLACE FUNCTION tasks_remember_change() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed_in := pg_current_xact_id();
    RETURN NEW;
END;
$$;

CREATE OR REPLACE TRIGGER tasks_changed
    BEFORE INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION tasks_remember_change();

SET statement_timeout = 0;

CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_tasks_changed ON tasks (changed_in) WHERE changed_in IS NOT NULL;

SET statement_timeout = '30s';
