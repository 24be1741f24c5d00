use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{Checkpoint, CheckpointBlob, CheckpointTuple, CheckpointWrite, JsonObject, TaskId};

/// What happens to a write whose step and index have one already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RepeatedWrite {
    /// The one that is there stays.
    Keeps,
    /// Channel, kind and bytes are replaced; the path stays.
    Replaces,
}

/// Which checkpoints of a thread to list.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CheckpointFilter {
    /// Only those of this namespace.
    pub namespace: Option<String>,
    /// Only those whose id is smaller, byte by byte.
    pub before: Option<String>,
    /// Only those whose metadata contains this object (JSON containment as in [`crate::ports::AgentFilter`]).
    pub metadata: Option<JsonObject>,
}

/// Keeps checkpoints. Threads are tasks, but they need not exist: only deleted ones take nothing. Every method is atomic by
/// itself, and reads see every write that was answered before they began.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait CheckpointRepository: Send + Sync {
    /// Stores a checkpoint and the channel versions that came with it, all or nothing. A version that is stored already
    /// stays as it is; a checkpoint that is stored already gets the new state and metadata and keeps its parent. `false` when
    /// the thread's task is deleted; nothing is stored then.
    async fn put(&self, checkpoint: &Checkpoint, blobs: &[CheckpointBlob]) -> Result<bool, StoreError>;

    /// Stores writes for a checkpoint, which need not exist, all or nothing. Of several for one step and index within
    /// `writes` the first counts, or the last where they replace. `false` when the thread's task is deleted; nothing is stored
    /// then.
    async fn put_writes(
        &self,
        thread: &TaskId,
        namespace: &str,
        checkpoint_id: &str,
        writes: &[CheckpointWrite],
        repeated: RepeatedWrite,
    ) -> Result<bool, StoreError>;

    /// The checkpoint with this id or, without one, that with the greatest, as it was at one moment: its blobs are the channel
    /// versions it names, by channel; its writes are in order of step, then index.
    async fn find(
        &self,
        thread: &TaskId,
        namespace: &str,
        checkpoint_id: Option<String>,
    ) -> Result<Option<CheckpointTuple>, StoreError>;

    /// At most `limit` checkpoints of the thread, greatest id first; equal ids by namespace.
    async fn list(&self, thread: &TaskId, filter: &CheckpointFilter, limit: u32)
    -> Result<Vec<Checkpoint>, StoreError>;

    /// Deletes everything of the thread, in every namespace. A thread without anything is fine.
    async fn delete_thread(&self, thread: &TaskId) -> Result<(), StoreError>;
}
