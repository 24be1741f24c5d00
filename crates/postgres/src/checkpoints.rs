use std::collections::BTreeMap;

use agentex_domain::ports::{CheckpointFilter, CheckpointRepository, RepeatedWrite, StoreError};
use agentex_domain::{Checkpoint, CheckpointBlob, CheckpointTuple, CheckpointWrite, ExactJson, TaskId};
use async_trait::async_trait;
use serde_json::value::RawValue;
use sqlx::types::Json;
use sqlx::{PgPool, Postgres, QueryBuilder};

use crate::error::{corrupt, nothing_if_unstorable, retry, store_error};

/// The columns of [`CheckpointRow`], of the table called `c`.
macro_rules! checkpoint_columns {
    () => {
        "c.thread_id, c.checkpoint_ns, c.checkpoint_id, c.parent_checkpoint_id, c.checkpoint, c.metadata"
    };
}

#[derive(sqlx::FromRow)]
struct CheckpointRow {
    thread_id: String,
    checkpoint_ns: String,
    checkpoint_id: String,
    parent_checkpoint_id: Option<String>,
    checkpoint: Json<Box<RawValue>>,
    metadata: Json<Box<RawValue>>,
}

impl TryFrom<CheckpointRow> for Checkpoint {
    type Error = StoreError;

    fn try_from(row: CheckpointRow) -> Result<Self, StoreError> {
        let CheckpointRow {
            thread_id,
            checkpoint_ns,
            checkpoint_id,
            parent_checkpoint_id,
            checkpoint: Json(checkpoint),
            metadata: Json(metadata),
        } = row;
        let object = |json| {
            ExactJson::from_raw(json).map_err(|problem| corrupt("checkpoints", &checkpoint_id, format!("{problem:?}")))
        };
        Ok(Self {
            thread_id: thread_id.into(),
            namespace: checkpoint_ns,
            parent_id: parent_checkpoint_id,
            checkpoint: object(checkpoint)?,
            metadata: object(metadata)?,
            id: checkpoint_id,
        })
    }
}

/// A checkpoint with its blobs and writes as columns of equal length; null where there are none.
#[derive(sqlx::FromRow)]
struct TupleRow {
    #[sqlx(flatten)]
    checkpoint: CheckpointRow,
    blob_channels: Option<Vec<String>>,
    blob_versions: Option<Vec<String>>,
    blob_types: Option<Vec<String>>,
    blobs: Option<Vec<Option<Vec<u8>>>>,
    write_steps: Option<Vec<String>>,
    write_indexes: Option<Vec<i32>>,
    write_channels: Option<Vec<String>>,
    write_types: Option<Vec<Option<String>>>,
    writes: Option<Vec<Vec<u8>>>,
    write_paths: Option<Vec<String>>,
}

impl TryFrom<TupleRow> for CheckpointTuple {
    type Error = StoreError;

    fn try_from(row: TupleRow) -> Result<Self, StoreError> {
        let TupleRow {
            checkpoint,
            blob_channels,
            blob_versions,
            blob_types,
            blobs,
            write_steps,
            write_indexes,
            write_channels,
            write_types,
            writes,
            write_paths,
        } = row;
        let blobs = items(blob_channels)
            .zip(items(blob_versions))
            .zip(items(blob_types).zip(items(blobs)))
            .map(|((channel, version), (kind, blob))| CheckpointBlob { channel, version, kind, blob })
            .collect();
        let writes = items(write_steps)
            .zip(items(write_indexes))
            .zip(items(write_channels).zip(items(write_types)))
            .zip(items(writes).zip(items(write_paths)))
            .map(|(((step_id, index), (channel, kind)), (blob, path))| CheckpointWrite {
                step_id,
                index,
                channel,
                kind,
                blob,
                path,
            })
            .collect();
        Ok(Self { checkpoint: checkpoint.try_into()?, blobs, writes })
    }
}

fn items<T>(column: Option<Vec<T>>) -> impl Iterator<Item = T> {
    column.into_iter().flatten()
}

/// Checkpoints in the tables that agents of the reference write to as well. Everything goes to the primary: a graph reads
/// right after it has written, and what it reads decides what it does next.
pub(crate) struct PgCheckpoints {
    pool: PgPool,
}

impl PgCheckpoints {
    pub(crate) const fn new(pool: PgPool) -> Self {
        Self { pool }
    }

    async fn put_once(&self, checkpoint: &Checkpoint, blobs: &[&CheckpointBlob]) -> Result<bool, StoreError> {
        let Checkpoint { thread_id, namespace, id, parent_id, checkpoint, metadata } = checkpoint;
        let channels: Vec<&str> = blobs.iter().map(|blob| blob.channel.as_str()).collect();
        let versions: Vec<&str> = blobs.iter().map(|blob| blob.version.as_str()).collect();
        let kinds: Vec<&str> = blobs.iter().map(|blob| blob.kind.as_str()).collect();
        let bytes: Vec<Option<&[u8]>> = blobs.iter().map(|blob| blob.blob.as_deref()).collect();
        sqlx::query_scalar(
            "WITH deleted AS MATERIALIZED (
                 SELECT 1 FROM tasks WHERE id = $1 AND status = 'DELETED'
             ), stored_blobs AS (
                 INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
                 SELECT $1, $2, b.channel, b.version, b.type, b.blob
                   FROM unnest($7::text[], $8::text[], $9::text[], $10::bytea[])
                        WITH ORDINALITY AS b (channel, version, type, blob, place)
                  WHERE NOT EXISTS (SELECT 1 FROM deleted)
                  ORDER BY b.place
                     ON CONFLICT DO NOTHING
             ), stored AS (
                 INSERT INTO checkpoints
                        (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
                 SELECT $1, $2, $3, $4, $5::jsonb, $6::jsonb
                  WHERE NOT EXISTS (SELECT 1 FROM deleted)
                     ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id) DO UPDATE
                    SET checkpoint = excluded.checkpoint, metadata = excluded.metadata
             )
             SELECT NOT EXISTS (SELECT 1 FROM deleted)",
        )
        .bind(thread_id.as_str())
        .bind(namespace)
        .bind(id)
        .bind(parent_id)
        .bind(checkpoint.get())
        .bind(metadata.get())
        .bind(channels)
        .bind(versions)
        .bind(kinds)
        .bind(bytes)
        .fetch_one(&self.pool)
        .await
        .map_err(store_error("checkpoint"))
    }
}

/// Stores writes; what happens to those that are there already is still to be added, with the answer.
macro_rules! insert_writes {
    ($repeated:literal) => {
        concat!(
            "WITH deleted AS MATERIALIZED (
                 SELECT 1 FROM tasks WHERE id = $1 AND status = 'DELETED'
             ), stored AS (
                 INSERT INTO checkpoint_writes
                        (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
                 SELECT $1, $2, $3, w.task_id, w.idx, w.channel, w.type, w.blob, w.task_path
                   FROM unnest($4::text[], $5::int[], $6::text[], $7::text[], $8::bytea[], $9::text[])
                        WITH ORDINALITY AS w (task_id, idx, channel, type, blob, task_path, place)
                  WHERE NOT EXISTS (SELECT 1 FROM deleted)
                  ORDER BY w.place
                     ON CONFLICT (thread_id, checkpoint_ns, checkpoint_id, task_id, idx) ",
            $repeated,
            ")
             SELECT NOT EXISTS (SELECT 1 FROM deleted)"
        )
    };
}

#[async_trait]
impl CheckpointRepository for PgCheckpoints {
    #[tracing::instrument(level = "debug", name = "db.checkpoint.put", skip_all, fields(task.id = %checkpoint.thread_id))]
    async fn put(&self, checkpoint: &Checkpoint, blobs: &[CheckpointBlob]) -> Result<bool, StoreError> {
        // In the order of their keys, so that two calls with the same ones cannot wait for each other. Sorting keeps the
        // first of equal ones first, and the first stays.
        let mut blobs: Vec<&CheckpointBlob> = blobs.iter().collect();
        blobs.sort_by(|one, other| (&one.channel, &one.version).cmp(&(&other.channel, &other.version)));
        retry(|| self.put_once(checkpoint, &blobs)).await
    }

    #[tracing::instrument(level = "debug", name = "db.checkpoint.put_writes", skip_all, fields(task.id = %thread))]
    async fn put_writes(
        &self,
        thread: &TaskId,
        namespace: &str,
        checkpoint_id: &str,
        writes: &[CheckpointWrite],
        repeated: RepeatedWrite,
    ) -> Result<bool, StoreError> {
        // One for each key, since a statement can replace a row only once, and in the order of the keys as above.
        let mut by_key: BTreeMap<(&str, i32), &CheckpointWrite> = BTreeMap::new();
        for write in writes {
            let place = by_key.entry((write.step_id.as_str(), write.index)).or_insert(write);
            if repeated == RepeatedWrite::Replaces {
                *place = write;
            }
        }
        let statement = match repeated {
            RepeatedWrite::Keeps => insert_writes!("DO NOTHING"),
            RepeatedWrite::Replaces => {
                insert_writes!("DO UPDATE SET channel = excluded.channel, type = excluded.type, blob = excluded.blob")
            }
        };
        let steps: Vec<&str> = by_key.values().map(|write| write.step_id.as_str()).collect();
        let indexes: Vec<i32> = by_key.values().map(|write| write.index).collect();
        let channels: Vec<&str> = by_key.values().map(|write| write.channel.as_str()).collect();
        let kinds: Vec<Option<&str>> = by_key.values().map(|write| write.kind.as_deref()).collect();
        let bytes: Vec<&[u8]> = by_key.values().map(|write| write.blob.as_slice()).collect();
        let paths: Vec<&str> = by_key.values().map(|write| write.path.as_str()).collect();
        retry(|| async {
            sqlx::query_scalar(statement)
                .bind(thread.as_str())
                .bind(namespace)
                .bind(checkpoint_id)
                .bind(&steps)
                .bind(&indexes)
                .bind(&channels)
                .bind(&kinds)
                .bind(&bytes)
                .bind(&paths)
                .fetch_one(&self.pool)
                .await
                .map_err(store_error("checkpoint write"))
        })
        .await
    }

    #[tracing::instrument(level = "debug", name = "db.checkpoint.find", skip_all, fields(task.id = %thread))]
    async fn find(
        &self,
        thread: &TaskId,
        namespace: &str,
        checkpoint_id: Option<String>,
    ) -> Result<Option<CheckpointTuple>, StoreError> {
        // One statement sees one moment. The greatest id is found among ids alone, not among whole states, and each blob by its
        // whole key: whatever the planner knows of the tables, it must not read all blobs of a long thread. The keys are compared
        // as their index does.
        let row = sqlx::query_as::<_, TupleRow>(concat!(
            "SELECT ",
            checkpoint_columns!(),
            ", b.channels AS blob_channels, b.versions AS blob_versions, b.types AS blob_types, b.blobs AS blobs,
               w.steps AS write_steps, w.indexes AS write_indexes, w.channels AS write_channels, w.types AS write_types,
               w.blobs AS writes, w.paths AS write_paths
               FROM checkpoints c
              CROSS JOIN LATERAL (
                  SELECT array_agg(b.channel ORDER BY b.channel COLLATE \"C\") AS channels,
                         array_agg(b.version ORDER BY b.channel COLLATE \"C\") AS versions,
                         array_agg(b.type ORDER BY b.channel COLLATE \"C\") AS types,
                         array_agg(b.blob ORDER BY b.channel COLLATE \"C\") AS blobs
                    FROM jsonb_each_text(CASE jsonb_typeof(c.checkpoint -> 'channel_versions')
                                              WHEN 'object' THEN c.checkpoint -> 'channel_versions'
                                              ELSE '{}' END) AS v (channel, version)
                   CROSS JOIN LATERAL (
                       SELECT k.channel, k.version, k.type, k.blob
                         FROM checkpoint_blobs k
                        WHERE k.thread_id = c.thread_id AND k.checkpoint_ns = c.checkpoint_ns
                          AND k.channel = v.channel AND k.version = v.version
                        LIMIT 1
                   ) AS b
              ) AS b
              CROSS JOIN LATERAL (
                  SELECT array_agg(w.task_id ORDER BY w.task_id COLLATE \"C\", w.idx) AS steps,
                         array_agg(w.idx ORDER BY w.task_id COLLATE \"C\", w.idx) AS indexes,
                         array_agg(w.channel ORDER BY w.task_id COLLATE \"C\", w.idx) AS channels,
                         array_agg(w.type ORDER BY w.task_id COLLATE \"C\", w.idx) AS types,
                         array_agg(w.blob ORDER BY w.task_id COLLATE \"C\", w.idx) AS blobs,
                         array_agg(w.task_path ORDER BY w.task_id COLLATE \"C\", w.idx) AS paths
                    FROM checkpoint_writes w
                   WHERE w.thread_id = c.thread_id AND w.checkpoint_ns = c.checkpoint_ns
                     AND w.checkpoint_id = c.checkpoint_id
              ) AS w
              WHERE c.thread_id = $1
                AND c.checkpoint_ns = $2
                AND c.checkpoint_id = COALESCE($3, (SELECT max(m.checkpoint_id COLLATE \"C\")
                                                      FROM checkpoints m
                                                     WHERE m.thread_id = $1 AND m.checkpoint_ns = $2)) COLLATE \"default\""
        ))
        .bind(thread.as_str())
        .bind(namespace)
        .bind(checkpoint_id)
        .fetch_optional(&self.pool)
        .await;
        nothing_if_unstorable(row).map_err(store_error("checkpoint"))?.map(CheckpointTuple::try_from).transpose()
    }

    #[tracing::instrument(level = "debug", name = "db.checkpoint.list", skip_all, fields(task.id = %thread))]
    async fn list(
        &self,
        thread: &TaskId,
        filter: &CheckpointFilter,
        limit: u32,
    ) -> Result<Vec<Checkpoint>, StoreError> {
        let CheckpointFilter { namespace, before, metadata } = filter;
        let mut query = QueryBuilder::<Postgres>::new(concat!(
            "SELECT ",
            checkpoint_columns!(),
            " FROM checkpoints c
              WHERE c.thread_id = "
        ));
        query.push_bind(thread.as_str());
        if let Some(namespace) = namespace {
            query.push(" AND c.checkpoint_ns = ").push_bind(namespace.as_str());
        }
        if let Some(before) = before {
            query.push(" AND c.checkpoint_id COLLATE \"C\" < ").push_bind(before.as_str());
        }
        if let Some(metadata) = metadata {
            query.push(" AND c.metadata @> ").push_bind(Json(metadata));
        }
        query.push(" ORDER BY c.checkpoint_id COLLATE \"C\" DESC, c.checkpoint_ns COLLATE \"C\" LIMIT ");
        query.push_bind(i64::from(limit));
        let rows = query.build_query_as::<CheckpointRow>().fetch_all(&self.pool).await;
        nothing_if_unstorable(rows).map_err(store_error("checkpoint"))?.into_iter().map(Checkpoint::try_from).collect()
    }

    #[tracing::instrument(level = "debug", name = "db.checkpoint.delete_thread", skip_all, fields(task.id = %thread))]
    async fn delete_thread(&self, thread: &TaskId) -> Result<(), StoreError> {
        retry(|| async {
            sqlx::query(
                "WITH writes AS (
                     DELETE FROM checkpoint_writes WHERE thread_id = $1
                 ), blobs AS (
                     DELETE FROM checkpoint_blobs WHERE thread_id = $1
                 )
                 DELETE FROM checkpoints WHERE thread_id = $1",
            )
            .bind(thread.as_str())
            .execute(&self.pool)
            .await
            .map_err(store_error("checkpoint"))
        })
        .await?;
        Ok(())
    }
}
