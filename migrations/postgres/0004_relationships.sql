-- The authorization graph of the embedded backend: who has which relation to what. Texts are compared as bytes.

CREATE TABLE authz_relationships (
    resource_kind    text COLLATE "C" NOT NULL,
    resource_id      text COLLATE "C" NOT NULL,
    relation         text COLLATE "C" NOT NULL,
    subject_kind     text COLLATE "C" NOT NULL,
    subject_id       text COLLATE "C" NOT NULL,
    -- Empty for the subject itself; `member` for everybody who is a member of it.
    subject_relation text COLLATE "C" NOT NULL,
    -- The relationship counts only for those who act in this account.
    caveat_account   text,
    CONSTRAINT authz_relationships_pkey
        PRIMARY KEY (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation)
);

-- What happened to them, in order, as far back as authz_revision.forgotten.
CREATE TABLE authz_relationship_changes (
    seq              bigint GENERATED ALWAYS AS IDENTITY,
    revision         bigint NOT NULL,
    action           text NOT NULL,
    resource_kind    text NOT NULL,
    resource_id      text NOT NULL,
    relation         text NOT NULL,
    subject_kind     text NOT NULL,
    subject_id       text NOT NULL,
    subject_relation text NOT NULL,
    caveat_account   text,
    CONSTRAINT authz_relationship_changes_pkey PRIMARY KEY (seq),
    CONSTRAINT authz_relationship_changes_action_check CHECK (action IN ('touch', 'remove'))
);
CREATE INDEX ix_authz_relationship_changes_revision ON authz_relationship_changes (revision, seq);

-- One row: how many writes changed something, and up to which of them the changes were thrown away. Writers take their
-- turns by locking it.
CREATE TABLE authz_revision (
    id        smallint NOT NULL,
    revision  bigint NOT NULL,
    forgotten bigint NOT NULL,
    CONSTRAINT authz_revision_pkey PRIMARY KEY (id),
    CONSTRAINT authz_revision_id_check CHECK (id = 1)
);
INSERT INTO authz_revision (id, revision, forgotten) VALUES (1, 0, 0);
