use agentex_domain::ports::StoreError;
use agentex_domain::{Checkpoint, CheckpointBlob, CheckpointWrite};

use super::Reader;

#[derive(sqlx::FromRow)]
pub(crate) struct CheckpointRow {
    thread_id: String,
    checkpoint_ns: String,
    checkpoint_id: String,
    parent_checkpoint_id: Option<String>,
    checkpoint: String,
    metadata: String,
}

/// The columns of [`CheckpointRow`].
macro_rules! checkpoint_columns {
    () => {
        "checkpoints.thread_id, checkpoints.checkpoint_ns, checkpoints.checkpoint_id, \
         checkpoints.parent_checkpoint_id, checkpoints.checkpoint, checkpoints.metadata"
    };
}
pub(crate) use checkpoint_columns;

impl TryFrom<CheckpointRow> for Checkpoint {
    type Error = StoreError;

    fn try_from(row: CheckpointRow) -> Result<Self, StoreError> {
        let CheckpointRow { thread_id, checkpoint_ns, checkpoint_id, parent_checkpoint_id, checkpoint, metadata } = row;
        let read = Reader { table: "checkpoints", id: &checkpoint_id };
        Ok(Self {
            thread_id: thread_id.into(),
            namespace: checkpoint_ns,
            parent_id: parent_checkpoint_id,
            checkpoint: read.json(&checkpoint)?,
            metadata: read.json(&metadata)?,
            id: checkpoint_id,
        })
    }
}

#[derive(sqlx::FromRow)]
pub(crate) struct BlobRow {
    channel: String,
    version: String,
    r#type: String,
    blob: Option<Vec<u8>>,
}

impl From<BlobRow> for CheckpointBlob {
    fn from(row: BlobRow) -> Self {
        let BlobRow { channel, version, r#type, blob } = row;
        Self { channel, version, kind: r#type, blob }
    }
}

#[derive(sqlx::FromRow)]
pub(crate) struct WriteRow {
    task_id: String,
    idx: i32,
    channel: String,
    r#type: Option<String>,
    blob: Vec<u8>,
    task_path: String,
}

impl From<WriteRow> for CheckpointWrite {
    fn from(row: WriteRow) -> Self {
        let WriteRow { task_id, idx, channel, r#type, blob, task_path } = row;
        Self { step_id: task_id, index: idx, channel, kind: r#type, blob, path: task_path }
    }
}
