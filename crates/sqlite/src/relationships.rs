use agentex_authz::local::{
    Change, Changes, Names, Precondition, RelationshipStore, RelationshipStoreError, Revision, Write, Written,
};
use agentex_authz::model::{Object, Relationship, Subject};
use agentex_domain::ports::StoreError;
use async_trait::async_trait;
use futures::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row as _, SqliteConnection};

use crate::database::Database;
use crate::error::store_error;

/// About how many revisions are remembered for those who follow. One who is further behind loads everything.
const REMEMBERED: i64 = 100_000;

/// How many revisions are forgotten at once.
const FORGOTTEN_TOGETHER: i64 = 1_000;

pub(crate) struct SqliteRelationships {
    pub(crate) database: Database,
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

#[async_trait]
impl RelationshipStore for SqliteRelationships {
    #[tracing::instrument(name = "db.relationships.load", level = "debug", skip_all)]
    async fn load_each(&self, each: &mut (dyn FnMut(Relationship) + Send)) -> Result<Revision, RelationshipStoreError> {
        // One transaction, so that the revision counts exactly what is read.
        let mut reading = self.database.begin_reading().await.map_err(failed)?;
        let (revision, _) = state(&mut reading).await.map_err(failed)?;
        let mut names = Names::default();
        let mut rows = sqlx::query(
            r#"
            SELECT resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation, caveat_account
              FROM authz_relationships
            "#,
        )
        .fetch(&mut *reading);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            each(relationship(&row, &mut names).map_err(failed)?);
        }
        Ok(Revision(revision))
    }

    #[tracing::instrument(name = "db.relationships.revision", level = "debug", skip_all)]
    async fn revision(&self) -> Result<Revision, RelationshipStoreError> {
        let revision = sqlx::query_scalar("SELECT revision FROM authz_revision")
            .fetch_one(&self.database.readers)
            .await
            .map_err(failed)?;
        Ok(Revision(revision))
    }

    #[tracing::instrument(name = "db.relationships.changes_since", level = "debug", skip_all)]
    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError> {
        let mut reading = self.database.begin_reading().await.map_err(failed)?;
        let (revision, forgotten) = state(&mut reading).await.map_err(failed)?;
        if !(forgotten..=revision).contains(&seen.0) {
            return Ok(Changes::Reload);
        }
        let rows: Vec<ChangeRow> = sqlx::query_as(
            r#"
            SELECT action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                   caveat_account
              FROM authz_relationship_changes
             WHERE revision > ?1
             ORDER BY revision, seq
            "#,
        )
        .bind(seen.0)
        .fetch_all(&mut *reading)
        .await
        .map_err(failed)?;
        Ok(Changes::Since { changes: rows.into_iter().map(Change::from).collect(), revision: Revision(revision) })
    }

    #[tracing::instrument(name = "db.relationships.write", level = "debug", skip_all, fields(count = writes.len()))]
    async fn write_all(&self, writes: &[Write]) -> Result<Vec<Written>, RelationshipStoreError> {
        // Dropping the transaction rolls back, whichever way this ends early.
        let mut transaction = self.database.begin().await.map_err(failed)?;
        let (before, _) = state(&mut transaction).await.map_err(failed)?;
        let mut revision = before;
        let mut answers = Vec::with_capacity(writes.len());
        for write in writes {
            let written = write_one(&mut transaction, write, revision).await.map_err(failed)?;
            if let Written::Changed(Revision(new)) = written {
                revision = new;
            }
            answers.push(written);
        }
        if revision == before {
            return Ok(answers);
        }
        sqlx::query("UPDATE authz_revision SET revision = ?1")
            .bind(revision)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        if revision / FORGOTTEN_TOGETHER > before / FORGOTTEN_TOGETHER {
            forget(&mut transaction, revision - REMEMBERED).await.map_err(failed)?;
        }
        transaction.commit().await.map_err(failed)?;
        Ok(answers)
    }
}

/// Makes one write happen, or nothing of it, on top of revision `before`.
async fn write_one(connection: &mut SqliteConnection, write: &Write, before: i64) -> Result<Written, sqlx::Error> {
    for precondition in &write.preconditions {
        if !holds(connection, precondition).await? {
            return Ok(Written::PreconditionFailed);
        }
    }
    if apply(connection, write, before + 1).await? {
        Ok(Written::Changed(Revision(before + 1)))
    } else {
        Ok(Written::Unchanged(Revision(before)))
    }
}

fn relationship(row: &SqliteRow, names: &mut Names) -> Result<Relationship, sqlx::Error> {
    let mut name = |column: usize| row.try_get::<&str, _>(column).map(|text| names.get(text));
    let resource = Object { kind: name(0)?, id: row.try_get::<&str, _>(1)?.into() };
    let relation = name(2)?;
    let subject = Object { kind: name(3)?, id: name(4)? };
    let userset = name(5)?;
    Ok(Relationship {
        resource,
        relation,
        subject: Subject { object: subject, relation: Some(userset).filter(|name| !name.is_empty()) },
        acting_in: row.try_get::<Option<&str>, _>(6)?.map(|text| names.get(text)),
    })
}

fn failed(error: sqlx::Error) -> RelationshipStoreError {
    match store_error("relationship")(error) {
        StoreError::Unavailable(source) => RelationshipStoreError::Unavailable(source),
        other => RelationshipStoreError::Failed(other.into()),
    }
}

/// The current revision, and the newest one whose changes are not remembered.
async fn state(connection: &mut SqliteConnection) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as("SELECT revision, forgotten FROM authz_revision").fetch_one(connection).await
}

async fn holds(connection: &mut SqliteConnection, precondition: &Precondition) -> Result<bool, sqlx::Error> {
    let Precondition::FreeOrHeldBy { resource, relation, subject } = precondition;
    sqlx::query_scalar(
        r#"
        SELECT NOT EXISTS (SELECT 1
                             FROM authz_relationships
                            WHERE resource_kind = ?1 AND resource_id = ?2 AND relation = ?3)
               OR EXISTS (SELECT 1
                            FROM authz_relationships
                           WHERE resource_kind = ?1 AND resource_id = ?2 AND relation = ?3
                             AND subject_kind = ?4 AND subject_id = ?5 AND subject_relation = ?6)
        "#,
    )
    .bind(&*resource.kind)
    .bind(&*resource.id)
    .bind(relation)
    .bind(&*subject.object.kind)
    .bind(&*subject.object.id)
    .bind(subject.relation.as_deref().unwrap_or_default())
    .fetch_one(connection)
    .await
}

/// Makes the changes, records each that is one under `revision`, and says whether there was any.
async fn apply(connection: &mut SqliteConnection, write: &Write, revision: i64) -> Result<bool, sqlx::Error> {
    let mut changed = false;
    for object in &write.clear {
        for removed in clear(connection, object).await? {
            record(connection, revision, "remove", &removed.into()).await?;
            changed = true;
        }
    }
    for edge in &write.remove {
        if remove(connection, edge).await? {
            record(connection, revision, "remove", edge).await?;
            changed = true;
        }
    }
    for edge in &write.touch {
        if touch(connection, edge).await? {
            record(connection, revision, "touch", edge).await?;
            changed = true;
        }
    }
    Ok(changed)
}

async fn clear(connection: &mut SqliteConnection, object: &Object) -> Result<Vec<RelationshipRow>, sqlx::Error> {
    sqlx::query_as(
        r#"
        DELETE FROM authz_relationships
         WHERE resource_kind = ?1 AND resource_id = ?2
        RETURNING resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation, caveat_account
        "#,
    )
    .bind(&*object.kind)
    .bind(&*object.id)
    .fetch_all(connection)
    .await
}

async fn remove(connection: &mut SqliteConnection, edge: &Relationship) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        r#"
        DELETE FROM authz_relationships
         WHERE resource_kind = ?1 AND resource_id = ?2 AND relation = ?3
           AND subject_kind = ?4 AND subject_id = ?5 AND subject_relation = ?6
        "#,
    )
    .bind(&*edge.resource.kind)
    .bind(&*edge.resource.id)
    .bind(&*edge.relation)
    .bind(&*edge.subject.object.kind)
    .bind(&*edge.subject.object.id)
    .bind(edge.subject.relation.as_deref().unwrap_or_default())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

async fn touch(connection: &mut SqliteConnection, edge: &Relationship) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        r#"
        INSERT INTO authz_relationships
               (resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation, caveat_account)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT DO UPDATE
           SET caveat_account = excluded.caveat_account
         WHERE caveat_account IS NOT excluded.caveat_account
        "#,
    )
    .bind(&*edge.resource.kind)
    .bind(&*edge.resource.id)
    .bind(&*edge.relation)
    .bind(&*edge.subject.object.kind)
    .bind(&*edge.subject.object.id)
    .bind(edge.subject.relation.as_deref().unwrap_or_default())
    .bind(edge.acting_in.as_deref())
    .execute(connection)
    .await?;
    Ok(done.rows_affected() > 0)
}

async fn record(
    connection: &mut SqliteConnection,
    revision: i64,
    action: &'static str,
    edge: &Relationship,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        r#"
        INSERT INTO authz_relationship_changes
               (revision, action, resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation,
                caveat_account)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
        "#,
    )
    .bind(revision)
    .bind(action)
    .bind(&*edge.resource.kind)
    .bind(&*edge.resource.id)
    .bind(&*edge.relation)
    .bind(&*edge.subject.object.kind)
    .bind(&*edge.subject.object.id)
    .bind(edge.subject.relation.as_deref().unwrap_or_default())
    .bind(edge.acting_in.as_deref())
    .execute(connection)
    .await?;
    Ok(())
}

/// Throws the changes up to `revision` away.
async fn forget(connection: &mut SqliteConnection, revision: i64) -> Result<(), sqlx::Error> {
    if revision <= 0 {
        return Ok(());
    }
    sqlx::query("DELETE FROM authz_relationship_changes WHERE revision <= ?1")
        .bind(revision)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE authz_revision SET forgotten = ?1").bind(revision).execute(connection).await?;
    Ok(())
}
