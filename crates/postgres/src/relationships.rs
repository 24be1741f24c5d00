use agentex_authz::local::{
    Change, Changes, Precondition, RelationshipStore, RelationshipStoreError, Revision, Snapshot, Write, Written,
};
use agentex_authz::model::{Object, Relationship, Subject};
use agentex_domain::ports::StoreError;
use async_trait::async_trait;
use sqlx::{PgConnection, PgPool};

use crate::error::store_error;

/// About how many revisions are remembered for those who follow. One who is further behind loads everything.
const REMEMBERED: i64 = 100_000;

/// How many revisions are forgotten at once.
const FORGOTTEN_TOGETHER: i64 = 1_000;

/// What is read in one such transaction is the state of one moment.
const BEGIN_SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Relationships in the table `authz_relationships`. On the primary, because a decision that is a little behind is
/// wrong.
pub(crate) struct PgRelationships {
    pool: PgPool,
}

impl PgRelationships {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

#[derive(sqlx::FromRow)]
struct RelationshipRow {
    resource_kind: String,
    resource_id: String,
    relation: String,
    subject_kind: String,
    subject_id: String,
    subject_relation: String,
    caveat_account: Option<String>,
}

impl From<RelationshipRow> for Relationship {
    fn from(row: RelationshipRow) -> Self {
        let RelationshipRow {
            resource_kind,
            resource_id,
            relation,
            subject_kind,
            subject_id,
            subject_relation,
            caveat_account,
        } = row;
        Self {
            resource: Object { kind: resource_kind.into(), id: resource_id.into() },
            relation: relation.into(),
            subject: Subject {
                object: Object { kind: subject_kind.into(), id: subject_id.into() },
                relation: Some(subject_relation).filter(|name| !name.is_empty()).map(Into::into),
            },
            acting_in: caveat_account.map(Into::into),
        }
    }
}

#[derive(sqlx::FromRow)]
struct ChangeRow {
    action: String,
    #[sqlx(flatten)]
    relationship: RelationshipRow,
}

impl From<ChangeRow> for Change {
    fn from(row: ChangeRow) -> Self {
        let ChangeRow { action, relationship } = row;
        let touched = action == "touch";
        if touched { Self::Touched(relationship.into()) } else { Self::Removed(relationship.into()) }
    }
}

/// Relationships as one array per column.
#[derive(Default)]
struct Columns<'a> {
    resource_kind: Vec<&'a str>,
    resource_id: Vec<&'a str>,
    relation: Vec<&'a str>,
    subject_kind: Vec<&'a str>,
    subject_id: Vec<&'a str>,
    subject_relation: Vec<&'a str>,
    caveat_account: Vec<Option<&'a str>>,
}

impl<'a> Columns<'a> {
    fn of(edges: &'a [Relationship]) -> Self {
        let mut columns = Self::default();
        for Relationship { resource, relation, subject, acting_in } in edges {
            columns.push(resource, relation, subject, acting_in.as_deref());
        }
        columns
    }

    fn push(&mut self, resource: &'a Object, relation: &'a str, subject: &'a Subject, caveat: Option<&'a str>) {
        self.resource_kind.push(&resource.kind);
        self.resource_id.push(&resource.id);
        self.relation.push(relation);
        self.subject_kind.push(&subject.object.kind);
        self.subject_id.push(&subject.object.id);
        self.subject_relation.push(subject.relation.as_deref().unwrap_or_default());
        self.caveat_account.push(caveat);
    }
}

#[async_trait]
impl RelationshipStore for PgRelationships {
    #[tracing::instrument(level = "debug", name = "db.relationships.load", skip_all)]
    async fn load(&self) -> Result<Snapshot, RelationshipStoreError> {
        let mut reading = self.pool.begin_with(BEGIN_SNAPSHOT).await.map_err(failed)?;
        let (revision, _) = state(&mut reading).await.map_err(failed)?;
        let rows: Vec<RelationshipRow> = sqlx::query_as(
            "SELECT resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation, caveat_account
               FROM authz_relationships",
        )
        .fetch_all(&mut *reading)
        .await
        .map_err(failed)?;
        reading.commit().await.map_err(failed)?;
        Ok(Snapshot { relationships: rows.into_iter().map(Relationship::from).collect(), revision: Revision(revision) })
    }

    #[tracing::instrument(level = "debug", name = "db.relationships.revision", skip_all)]
    async fn revision(&self) -> Result<Revision, RelationshipStoreError> {
        let revision =
            sqlx::query_scalar("SELECT revision FROM authz_revision").fetch_one(&self.pool).await.map_err(failed)?;
        Ok(Revision(revision))
    }

    #[tracing::instrument(level = "debug", name = "db.relationships.changes_since", skip_all)]
    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError> {
        let mut reading = self.pool.begin_with(BEGIN_SNAPSHOT).await.map_err(failed)?;
        let (revision, forgotten) = state(&mut reading).await.map_err(failed)?;
        if !(forgotten..=revision).contains(&seen.0) {
            return Ok(Changes::Reload);
        }
        let rows: Vec<ChangeRow> = sqlx::query_as(
            "SELECT action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                    caveat_account
               FROM authz_relationship_changes
              WHERE revision > $1
              ORDER BY revision, seq",
        )
        .bind(seen.0)
        .fetch_all(&mut *reading)
        .await
        .map_err(failed)?;
        reading.commit().await.map_err(failed)?;
        Ok(Changes::Since { changes: rows.into_iter().map(Change::from).collect(), revision: Revision(revision) })
    }

    #[tracing::instrument(level = "debug", name = "db.relationships.write", skip_all)]
    async fn write(&self, write: &Write) -> Result<Written, RelationshipStoreError> {
        // Dropping the transaction rolls back, whichever way this ends early.
        let mut transaction = self.pool.begin().await.map_err(failed)?;
        // The lock on the row comes first: writers take their turns, so revisions are committed in their order and what
        // the following statements see stays true until the end.
        let revision: i64 = sqlx::query_scalar("UPDATE authz_revision SET revision = revision + 1 RETURNING revision")
            .fetch_one(&mut *transaction)
            .await
            .map_err(failed)?;
        if !hold(&mut transaction, &write.preconditions).await.map_err(failed)? {
            return Ok(Written::PreconditionFailed);
        }
        let changes = clear(&mut transaction, &write.clear, revision).await.map_err(failed)?
            + remove(&mut transaction, &write.remove, revision).await.map_err(failed)?
            + touch(&mut transaction, &write.touch, revision).await.map_err(failed)?;
        if changes == 0 {
            return Ok(Written::Unchanged(Revision(revision - 1)));
        }
        if revision % FORGOTTEN_TOGETHER == 0 {
            forget(&mut transaction, revision - REMEMBERED).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(Written::Changed(Revision(revision)))
    }
}

fn failed(error: sqlx::Error) -> RelationshipStoreError {
    match store_error("relationship")(error) {
        StoreError::Unavailable(source) => RelationshipStoreError::Unavailable(source),
        other => RelationshipStoreError::Failed(other.into()),
    }
}

/// The current revision, and the newest one whose changes are not remembered.
async fn state(connection: &mut PgConnection) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as("SELECT revision, forgotten FROM authz_revision").fetch_one(connection).await
}

async fn hold(connection: &mut PgConnection, preconditions: &[Precondition]) -> Result<bool, sqlx::Error> {
    if preconditions.is_empty() {
        return Ok(true);
    }
    let mut columns = Columns::default();
    for Precondition::FreeOrHeldBy { resource, relation, subject } in preconditions {
        columns.push(resource, relation, subject, None);
    }
    sqlx::query_scalar(
        "SELECT bool_and(
                    NOT EXISTS (SELECT 1
                                  FROM authz_relationships r
                                 WHERE r.resource_kind = wanted.resource_kind
                                   AND r.resource_id = wanted.resource_id
                                   AND r.relation = wanted.relation)
                    OR EXISTS (SELECT 1
                                 FROM authz_relationships r
                                WHERE r.resource_kind = wanted.resource_kind
                                  AND r.resource_id = wanted.resource_id
                                  AND r.relation = wanted.relation
                                  AND r.subject_kind = wanted.subject_kind
                                  AND r.subject_id = wanted.subject_id
                                  AND r.subject_relation = wanted.subject_relation))
           FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
                AS wanted (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation)",
    )
    .bind(columns.resource_kind)
    .bind(columns.resource_id)
    .bind(columns.relation)
    .bind(columns.subject_kind)
    .bind(columns.subject_id)
    .bind(columns.subject_relation)
    .fetch_one(connection)
    .await
}

/// Removes everything on `objects`, records it, and says how much that was.
async fn clear(connection: &mut PgConnection, objects: &[Object], revision: i64) -> Result<u64, sqlx::Error> {
    if objects.is_empty() {
        return Ok(0);
    }
    let kinds: Vec<&str> = objects.iter().map(|object| &*object.kind).collect();
    let ids: Vec<&str> = objects.iter().map(|object| &*object.id).collect();
    let done = sqlx::query(
        "WITH gone AS (
             DELETE FROM authz_relationships r
              USING unnest($1::text[], $2::text[]) AS cleared (kind, id)
              WHERE r.resource_kind = cleared.kind AND r.resource_id = cleared.id
             RETURNING r.resource_kind, r.resource_id, r.relation, r.subject_kind, r.subject_id, r.subject_relation,
                       r.caveat_account
         )
         INSERT INTO authz_relationship_changes
                (revision, action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                 caveat_account)
         SELECT $3, 'remove', resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                caveat_account
           FROM gone",
    )
    .bind(kinds)
    .bind(ids)
    .bind(revision)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Removes `edges`, records those that were there, and says how many.
async fn remove(connection: &mut PgConnection, edges: &[Relationship], revision: i64) -> Result<u64, sqlx::Error> {
    if edges.is_empty() {
        return Ok(0);
    }
    let columns = Columns::of(edges);
    let done = sqlx::query(
        "WITH gone AS (
             DELETE FROM authz_relationships r
              USING unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
                    AS e (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation)
              WHERE r.resource_kind = e.resource_kind
                AND r.resource_id = e.resource_id
                AND r.relation = e.relation
                AND r.subject_kind = e.subject_kind
                AND r.subject_id = e.subject_id
                AND r.subject_relation = e.subject_relation
             RETURNING r.resource_kind, r.resource_id, r.relation, r.subject_kind, r.subject_id, r.subject_relation,
                       r.caveat_account
         )
         INSERT INTO authz_relationship_changes
                (revision, action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                 caveat_account)
         SELECT $7, 'remove', resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                caveat_account
           FROM gone",
    )
    .bind(columns.resource_kind)
    .bind(columns.resource_id)
    .bind(columns.relation)
    .bind(columns.subject_kind)
    .bind(columns.subject_id)
    .bind(columns.subject_relation)
    .bind(revision)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Adds `edges`, records those that were not there as they are now, and says how many. Of several that differ in their
/// caveat only, the last one counts.
async fn touch(connection: &mut PgConnection, edges: &[Relationship], revision: i64) -> Result<u64, sqlx::Error> {
    if edges.is_empty() {
        return Ok(0);
    }
    let columns = Columns::of(edges);
    let done = sqlx::query(
        "WITH changed AS (
             INSERT INTO authz_relationships AS r
                    (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation, caveat_account)
             SELECT DISTINCT ON (1, 2, 3, 4, 5, 6)
                    resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation, caveat_account
               FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[])
                    WITH ORDINALITY
                    AS e (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                          caveat_account, place)
              ORDER BY 1, 2, 3, 4, 5, 6, place DESC
                 ON CONFLICT (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation)
                 DO UPDATE SET caveat_account = EXCLUDED.caveat_account
              WHERE r.caveat_account IS DISTINCT FROM EXCLUDED.caveat_account
             RETURNING r.resource_kind, r.resource_id, r.relation, r.subject_kind, r.subject_id, r.subject_relation,
                       r.caveat_account
         )
         INSERT INTO authz_relationship_changes
                (revision, action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                 caveat_account)
         SELECT $8, 'touch', resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                caveat_account
           FROM changed",
    )
    .bind(columns.resource_kind)
    .bind(columns.resource_id)
    .bind(columns.relation)
    .bind(columns.subject_kind)
    .bind(columns.subject_id)
    .bind(columns.subject_relation)
    .bind(columns.caveat_account)
    .bind(revision)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Throws the changes up to `revision` away.
async fn forget(connection: &mut PgConnection, revision: i64) -> Result<(), sqlx::Error> {
    if revision <= 0 {
        return Ok(());
    }
    sqlx::query("DELETE FROM authz_relationship_changes WHERE revision <= $1")
        .bind(revision)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE authz_revision SET forgotten = $1").bind(revision).execute(connection).await?;
    Ok(())
}
