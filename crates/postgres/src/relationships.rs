use agentex_authz::local::{
    Change, Changes, Names, Precondition, RelationshipStore, RelationshipStoreError, Revision, Write, Written,
};
use agentex_authz::model::{Object, Relationship, Subject};
use agentex_domain::ports::StoreError;
use async_trait::async_trait;
use futures::TryStreamExt as _;
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::types::Json;
use sqlx::{PgPool, Row as _};

use crate::error::store_error;
use crate::transaction::begin_with;

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

/// The relationship in the columns of a row that are named like those of the table.
fn relationship(row: &PgRow, names: &mut Names) -> Result<Relationship, sqlx::Error> {
    let mut name = |column: &str| row.try_get::<&str, _>(column).map(|text| names.get(text));
    let resource = Object { kind: name("resource_kind")?, id: row.try_get::<&str, _>("resource_id")?.into() };
    let subject = Object { kind: name("subject_kind")?, id: name("subject_id")? };
    let userset = name("subject_relation")?;
    Ok(Relationship {
        resource,
        relation: name("relation")?,
        subject: Subject { object: subject, relation: Some(userset).filter(|name| !name.is_empty()) },
        acting_in: row.try_get::<Option<&str>, _>("caveat_account")?.map(|text| names.get(text)),
    })
}

/// A [`Write`] as the function `authz_write` takes it.
#[derive(Serialize)]
struct WriteDocument<'a> {
    preconditions: Vec<EdgeDocument<'a>>,
    clear: Vec<ObjectDocument<'a>>,
    remove: Vec<EdgeDocument<'a>>,
    touch: Vec<EdgeDocument<'a>>,
}

#[derive(Serialize)]
struct ObjectDocument<'a> {
    kind: &'a str,
    id: &'a str,
}

#[derive(Serialize)]
struct EdgeDocument<'a> {
    resource_kind: &'a str,
    resource_id: &'a str,
    relation: &'a str,
    subject_kind: &'a str,
    subject_id: &'a str,
    subject_relation: &'a str,
    caveat_account: Option<&'a str>,
}

impl<'a> WriteDocument<'a> {
    fn of(write: &'a Write) -> Self {
        let Write { preconditions, clear, remove, touch } = write;
        let precondition = |Precondition::FreeOrHeldBy { resource, relation, subject }: &'a Precondition| {
            EdgeDocument::of(resource, relation, subject, None)
        };
        let edge = |Relationship { resource, relation, subject, acting_in }: &'a Relationship| {
            EdgeDocument::of(resource, relation, subject, acting_in.as_deref())
        };
        Self {
            preconditions: preconditions.iter().map(precondition).collect(),
            clear: clear.iter().map(|object| ObjectDocument { kind: &object.kind, id: &object.id }).collect(),
            remove: remove.iter().map(edge).collect(),
            touch: touch.iter().map(edge).collect(),
        }
    }
}

impl<'a> EdgeDocument<'a> {
    fn of(resource: &'a Object, relation: &'a str, subject: &'a Subject, caveat_account: Option<&'a str>) -> Self {
        Self {
            resource_kind: &resource.kind,
            resource_id: &resource.id,
            relation,
            subject_kind: &subject.object.kind,
            subject_id: &subject.object.id,
            subject_relation: subject.relation.as_deref().unwrap_or_default(),
            caveat_account,
        }
    }
}

#[async_trait]
impl RelationshipStore for PgRelationships {
    #[tracing::instrument(level = "debug", name = "db.relationships.load", skip_all)]
    async fn load_each(&self, each: &mut (dyn FnMut(Relationship) + Send)) -> Result<Revision, RelationshipStoreError> {
        let mut reading = begin_with(&self.pool, BEGIN_SNAPSHOT).await.map_err(failed)?;
        let revision =
            sqlx::query_scalar("SELECT revision FROM authz_revision").fetch_one(&mut *reading).await.map_err(failed)?;
        let mut names = Names::default();
        let mut rows = sqlx::query(
            "SELECT resource_kind, resource_id, relation, subject_kind, subject_id, subject_relation, caveat_account
               FROM authz_relationships",
        )
        .fetch(&mut *reading);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            each(relationship(&row, &mut names).map_err(failed)?);
        }
        drop(rows);
        reading.commit().await.map_err(failed)?;
        Ok(Revision(revision))
    }

    #[tracing::instrument(level = "debug", name = "db.relationships.revision", skip_all)]
    async fn revision(&self) -> Result<Revision, RelationshipStoreError> {
        let revision =
            sqlx::query_scalar("SELECT revision FROM authz_revision").fetch_one(&self.pool).await.map_err(failed)?;
        Ok(Revision(revision))
    }

    #[tracing::instrument(level = "debug", name = "db.relationships.changes_since", skip_all)]
    async fn changes_since(&self, seen: Revision) -> Result<Changes, RelationshipStoreError> {
        // One statement, so that it is one moment: the state of the log in each row, and in one without a change if
        // there is none.
        let rows = sqlx::query(
            "SELECT r.revision AS newest, r.forgotten, c.action, c.resource_kind, c.resource_id, c.relation,
                    c.subject_kind, c.subject_id, c.subject_relation, c.caveat_account
               FROM authz_revision r
               LEFT JOIN authz_relationship_changes c
                 ON c.revision > $1 AND $1 BETWEEN r.forgotten AND r.revision
              ORDER BY c.revision, c.seq",
        )
        .bind(seen.0)
        .fetch_all(&self.pool)
        .await
        .map_err(failed)?;
        changes(seen, &rows).map_err(failed)
    }

    #[tracing::instrument(level = "debug", name = "db.relationships.write", skip_all, fields(count = writes.len()))]
    async fn write_all(&self, writes: &[Write]) -> Result<Vec<Written>, RelationshipStoreError> {
        // One call is one transaction, so nobody waits for this process while the row that writers queue for is locked.
        let documents: Vec<WriteDocument<'_>> = writes.iter().map(WriteDocument::of).collect();
        let answers: Vec<(String, i64)> = sqlx::query_as("SELECT outcome, at_revision FROM authz_write($1)")
            .bind(Json(documents))
            .fetch_all(&self.pool)
            .await
            .map_err(failed)?;
        let written = |(outcome, revision): (String, i64)| match outcome.as_str() {
            "changed" => Ok(Written::Changed(Revision(revision))),
            "unchanged" => Ok(Written::Unchanged(Revision(revision))),
            "refused" => Ok(Written::PreconditionFailed),
            // It may have happened.
            _ => Err(RelationshipStoreError::Unavailable("an outcome that does not exist".into())),
        };
        answers.into_iter().map(written).collect()
    }
}

fn changes(seen: Revision, rows: &[PgRow]) -> Result<Changes, sqlx::Error> {
    let mut names = Names::default();
    let mut changes = Vec::new();
    let mut newest = seen.0;
    for row in rows {
        newest = row.try_get("newest")?;
        if !(row.try_get("forgotten")?..=newest).contains(&seen.0) {
            return Ok(Changes::Reload);
        }
        if let Some(action) = row.try_get::<Option<&str>, _>("action")? {
            let relationship = relationship(row, &mut names)?;
            changes.push(if action == "touch" { Change::Touched(relationship) } else { Change::Removed(relationship) });
        }
    }
    Ok(Changes::Since { changes, revision: Revision(newest) })
}

fn failed(error: sqlx::Error) -> RelationshipStoreError {
    match store_error("relationship")(error) {
        StoreError::Unavailable(source) => RelationshipStoreError::Unavailable(source),
        other => RelationshipStoreError::Failed(other.into()),
    }
}
