use agentex_domain::ports::{CheckpointFilter, CheckpointRepository, RepeatedWrite, StoreError};
use agentex_domain::{Checkpoint, CheckpointBlob, CheckpointTuple, CheckpointWrite, TaskId};
use async_trait::async_trait;
use sqlx::{QueryBuilder, SqliteConnection};

use crate::conditions::push_contains;
use crate::database::Database;
use crate::error::store_error;
use crate::rows::{BlobRow, CheckpointRow, WriteRow, checkpoint_columns};

/// Stores one write; what happens when it is there already is still to be added.
macro_rules! insert_write {
    () => {
        "INSERT INTO checkpoint_writes
                (thread_id, checkpoint_ns, checkpoint_id, task_id, idx, channel, type, blob, task_path)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    };
}

pub(crate) struct SqliteCheckpoints {
    pub(crate) database: Database,
}

#[async_trait]
impl CheckpointRepository for SqliteCheckpoints {
    #[tracing::instrument(name = "db.checkpoint.put", level = "debug", skip_all, fields(task.id = %checkpoint.thread_id))]
    async fn put(&self, checkpoint: &Checkpoint, blobs: &[CheckpointBlob]) -> Result<bool, StoreError> {
        let Checkpoint { thread_id, namespace, id, parent_id, checkpoint, metadata } = checkpoint;
        let mut transaction = self.database.begin().await.map_err(store_error("checkpoint"))?;
        if is_deleted(&mut transaction, thread_id).await? {
            return Ok(false);
        }
        for CheckpointBlob { channel, version, kind, blob } in blobs {
            sqlx::query(
                r#"
                INSERT INTO checkpoint_blobs (thread_id, checkpoint_ns, channel, version, type, blob)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                    ON CONFLICT DO NOTHING
                "#,
            )
            .bind(thread_id.as_str())
            .bind(namespace)
            .bind(channel)
            .bind(version)
            .bind(kind)
            .bind(blob)
            .execute(&mut *transaction)
            .await
            .map_err(store_error("checkpoint"))?;
        }
        sqlx::query(
            r#"
            INSERT INTO checkpoints
                   (thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                ON CONFLICT DO UPDATE
               SET checkpoint = excluded.checkpoint, metadata = excluded.metadata
            "#,
        )
        .bind(thread_id.as_str())
        .bind(namespace)
        .bind(id)
        .bind(parent_id)
        .bind(checkpoint.get())
        .bind(metadata.get())
        .execute(&mut *transaction)
        .await
        .map_err(store_error("checkpoint"))?;

        transaction.commit().await.map_err(store_error("checkpoint"))?;
        Ok(true)
    }

    #[tracing::instrument(name = "db.checkpoint.put_writes", level = "debug", skip_all, fields(task.id = %thread))]
    async fn put_writes(
        &self,
        thread: &TaskId,
        namespace: &str,
        checkpoint_id: &str,
        writes: &[CheckpointWrite],
        repeated: RepeatedWrite,
    ) -> Result<bool, StoreError> {
        let statement = match repeated {
            RepeatedWrite::Keeps => concat!(insert_write!(), " ON CONFLICT DO NOTHING"),
            RepeatedWrite::Replaces => concat!(
                insert_write!(),
                " ON CONFLICT DO UPDATE SET channel = excluded.channel, type = excluded.type, blob = excluded.blob"
            ),
        };
        let mut transaction = self.database.begin().await.map_err(store_error("checkpoint write"))?;
        if is_deleted(&mut transaction, thread).await? {
            return Ok(false);
        }
        for CheckpointWrite { step_id, index, channel, kind, blob, path } in writes {
            sqlx::query(statement)
                .bind(thread.as_str())
                .bind(namespace)
                .bind(checkpoint_id)
                .bind(step_id)
                .bind(index)
                .bind(channel)
                .bind(kind)
                .bind(blob)
                .bind(path)
                .execute(&mut *transaction)
                .await
                .map_err(store_error("checkpoint write"))?;
        }

        transaction.commit().await.map_err(store_error("checkpoint write"))?;
        Ok(true)
    }

    #[tracing::instrument(name = "db.checkpoint.find", level = "debug", skip_all, fields(task.id = %thread))]
    async fn find(
        &self,
        thread: &TaskId,
        namespace: &str,
        checkpoint_id: Option<String>,
    ) -> Result<Option<CheckpointTuple>, StoreError> {
        // A transaction sees one moment; reading, it waits for nobody.
        let mut moment = self.database.begin_reading().await.map_err(store_error("checkpoint"))?;
        let row: Option<CheckpointRow> = sqlx::query_as(concat!(
            "SELECT ",
            checkpoint_columns!(),
            r#"
              FROM checkpoints
             WHERE thread_id = ?1
               AND checkpoint_ns = ?2
               AND checkpoint_id = COALESCE(?3, (SELECT max(checkpoint_id)
                                                   FROM checkpoints
                                                  WHERE thread_id = ?1 AND checkpoint_ns = ?2))
            "#
        ))
        .bind(thread.as_str())
        .bind(namespace)
        .bind(checkpoint_id)
        .fetch_optional(&mut *moment)
        .await
        .map_err(store_error("checkpoint"))?;
        let Some(checkpoint) = row.map(Checkpoint::try_from).transpose()? else { return Ok(None) };

        // A cross join is done from left to right: each blob is found by its key, not all of a long thread.
        let blobs: Vec<BlobRow> = sqlx::query_as(
            r#"
            SELECT blobs.channel, blobs.version, blobs.type, blobs.blob
              FROM json_each(?3, '$.channel_versions') AS versions
             CROSS JOIN checkpoint_blobs AS blobs
                ON blobs.channel = versions.key AND blobs.version = CAST(versions.value AS TEXT)
             WHERE json_type(?3, '$.channel_versions') = 'object'
               AND blobs.thread_id = ?1
               AND blobs.checkpoint_ns = ?2
             ORDER BY blobs.channel
            "#,
        )
        .bind(thread.as_str())
        .bind(namespace)
        .bind(checkpoint.checkpoint.get())
        .fetch_all(&mut *moment)
        .await
        .map_err(store_error("checkpoint"))?;
        let writes: Vec<WriteRow> = sqlx::query_as(
            r#"
            SELECT task_id, idx, channel, type, blob, task_path
              FROM checkpoint_writes
             WHERE thread_id = ?1
               AND checkpoint_ns = ?2
               AND checkpoint_id = ?3
             ORDER BY task_id, idx
            "#,
        )
        .bind(thread.as_str())
        .bind(namespace)
        .bind(&checkpoint.id)
        .fetch_all(&mut *moment)
        .await
        .map_err(store_error("checkpoint"))?;

        Ok(Some(CheckpointTuple {
            checkpoint,
            blobs: blobs.into_iter().map(CheckpointBlob::from).collect(),
            writes: writes.into_iter().map(CheckpointWrite::from).collect(),
        }))
    }

    #[tracing::instrument(name = "db.checkpoint.list", level = "debug", skip_all, fields(task.id = %thread))]
    async fn list(
        &self,
        thread: &TaskId,
        filter: &CheckpointFilter,
        limit: u32,
    ) -> Result<Vec<Checkpoint>, StoreError> {
        let CheckpointFilter { namespace, before, metadata } = filter;
        let mut query =
            QueryBuilder::new(concat!("SELECT ", checkpoint_columns!(), " FROM checkpoints WHERE thread_id = "));
        query.push_bind(thread.as_str());
        if let Some(namespace) = namespace {
            query.push(" AND checkpoint_ns = ").push_bind(namespace);
        }
        if let Some(before) = before {
            query.push(" AND checkpoint_id < ").push_bind(before);
        }
        if let Some(metadata) = metadata {
            query.push(" AND ");
            push_contains(&mut query, "checkpoints.metadata", metadata);
        }
        query.push(" ORDER BY checkpoint_id DESC, checkpoint_ns LIMIT ").push_bind(limit);

        // Filters by JSON make a new statement each; caching it would only push useful ones out.
        let rows: Vec<CheckpointRow> = query
            .build_query_as()
            .persistent(metadata.is_none())
            .fetch_all(&self.database.readers)
            .await
            .map_err(store_error("checkpoint"))?;
        rows.into_iter().map(Checkpoint::try_from).collect()
    }

    #[tracing::instrument(name = "db.checkpoint.delete_thread", level = "debug", skip_all, fields(task.id = %thread))]
    async fn delete_thread(&self, thread: &TaskId) -> Result<(), StoreError> {
        let mut transaction = self.database.begin().await.map_err(store_error("checkpoint"))?;
        for statement in [
            "DELETE FROM checkpoint_writes WHERE thread_id = ?1",
            "DELETE FROM checkpoint_blobs WHERE thread_id = ?1",
            "DELETE FROM checkpoints WHERE thread_id = ?1",
        ] {
            sqlx::query(statement)
                .bind(thread.as_str())
                .execute(&mut *transaction)
                .await
                .map_err(store_error("checkpoint"))?;
        }
        transaction.commit().await.map_err(store_error("checkpoint"))
    }
}

async fn is_deleted(connection: &mut SqliteConnection, thread: &TaskId) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM tasks WHERE id = ?1 AND status = 'DELETED')")
        .bind(thread.as_str())
        .fetch_one(connection)
        .await
        .map_err(store_error("checkpoint"))
}
