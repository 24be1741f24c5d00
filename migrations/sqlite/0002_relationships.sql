-- The authorization graph of the embedded backend: who has which relation to what.

CREATE TABLE authz_relationships (
    resource_kind    TEXT NOT NULL,
    resource_id      TEXT NOT NULL,
    relation         TEXT NOT NULL,
    subject_kind     TEXT NOT NULL,
    subject_id       TEXT NOT NULL,
    -- Empty for the subject itself; `member` for everybody who is a member of it.
    subject_relation TEXT NOT NULL,
    -- The relationship counts only for those who act in this account.
    caveat_account   TEXT,
    PRIMARY KEY (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation)
) STRICT, WITHOUT ROWID;

-- What happened to them, in order, as far back as authz_revision.forgotten.
CREATE TABLE authz_relationship_changes (
    seq              INTEGER PRIMARY KEY AUTOINCREMENT,
    revision         INTEGER NOT NULL,
    action           TEXT NOT NULL CHECK (action IN ('touch', 'remove')),
    resource_kind    TEXT NOT NULL,
    resource_id      TEXT NOT NULL,
    relation         TEXT NOT NULL,
    subject_kind     TEXT NOT NULL,
    subject_id       TEXT NOT NULL,
    subject_relation TEXT NOT NULL,
    caveat_account   TEXT
) STRICT;

CREATE INDEX ix_authz_relationship_changes_revision ON authz_relationship_changes (revision, seq);

-- One row: how many writes changed something, and up to which of them the changes were thrown away.
CREATE TABLE authz_revision (
    id        INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
    revision  INTEGER NOT NULL,
    forgotten INTEGER NOT NULL
) STRICT;

INSERT INTO authz_revision (id, revision, forgotten) VALUES (1, 0, 0);
