use agentex_authz::{Operation, ResourceRef};
use agentex_domain::ports::{CheckpointFilter, RepeatedWrite, Stores};
use agentex_domain::{Checkpoint, CheckpointBlob, CheckpointTuple, CheckpointWrite, TaskId};

use crate::guard::Guard;
use crate::{Absent, Caller, Error};

/// Most blobs or writes in one call.
const MAX_ITEMS: usize = 10_000;

/// Saved states of graphs that agents run. A thread is a task, and the task's permissions count.
pub struct Checkpoints {
    stores: Stores,
    guard: Guard,
}

/// Writes to store for a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct NewWrites {
    /// The thread, which is a task.
    pub thread: TaskId,
    /// Which graph of the thread.
    pub namespace: String,
    /// The checkpoint, which need not exist yet.
    pub checkpoint_id: String,
    /// The writes.
    pub writes: Vec<CheckpointWrite>,
    /// What happens to those that are there already.
    pub repeated: RepeatedWrite,
}

impl Checkpoints {
    pub(crate) const fn new(stores: Stores, guard: Guard) -> Self {
        Self { stores, guard }
    }

    /// One checkpoint with its blobs and writes: that with this id or, without one, the newest. A thread that is unknown has
    /// none.
    #[tracing::instrument(name = "checkpoints.find", skip_all, fields(task.id = %thread))]
    pub async fn find(
        &self,
        caller: &Caller,
        thread: &TaskId,
        namespace: &str,
        checkpoint_id: Option<String>,
    ) -> Result<Option<CheckpointTuple>, Error> {
        self.require(caller, Operation::Read, thread).await?;
        Ok(self.stores.checkpoints.find(thread, namespace, checkpoint_id).await?)
    }

    /// Stores a checkpoint with its blobs, all or nothing.
    #[tracing::instrument(name = "checkpoints.put", skip_all, fields(task.id = %checkpoint.thread_id, count = blobs.len()))]
    pub async fn put(
        &self,
        caller: &Caller,
        checkpoint: Checkpoint,
        blobs: Vec<CheckpointBlob>,
    ) -> Result<Checkpoint, Error> {
        self.require(caller, Operation::Update, &checkpoint.thread_id).await?;
        check_count("blobs", blobs.len())?;
        stored(self.stores.checkpoints.put(&checkpoint, &blobs).await?, &checkpoint.thread_id)?;
        Ok(checkpoint)
    }

    /// Stores writes for a checkpoint, all or nothing.
    #[tracing::instrument(name = "checkpoints.put_writes", skip_all, fields(task.id = %new.thread, count = new.writes.len()))]
    pub async fn put_writes(&self, caller: &Caller, new: NewWrites) -> Result<(), Error> {
        let NewWrites { thread, namespace, checkpoint_id, writes, repeated } = new;
        self.require(caller, Operation::Update, &thread).await?;
        check_count("writes", writes.len())?;
        let checkpoints = &self.stores.checkpoints;
        stored(checkpoints.put_writes(&thread, &namespace, &checkpoint_id, &writes, repeated).await?, &thread)
    }

    /// At most `limit` checkpoints of a thread, newest first, without blobs and writes.
    #[tracing::instrument(name = "checkpoints.list", skip_all, fields(task.id = %thread))]
    pub async fn list(
        &self,
        caller: &Caller,
        thread: &TaskId,
        filter: CheckpointFilter,
        limit: u32,
    ) -> Result<Vec<Checkpoint>, Error> {
        self.require(caller, Operation::Read, thread).await?;
        Ok(self.stores.checkpoints.list(thread, &filter, limit).await?)
    }

    /// Deletes everything of a thread; one without anything is fine.
    #[tracing::instrument(name = "checkpoints.delete_thread", skip_all, fields(task.id = %thread))]
    pub async fn delete_thread(&self, caller: &Caller, thread: &TaskId) -> Result<(), Error> {
        self.require(caller, Operation::Delete, thread).await?;
        Ok(self.stores.checkpoints.delete_thread(thread).await?)
    }

    async fn require(&self, caller: &Caller, operation: Operation, thread: &TaskId) -> Result<(), Error> {
        let absent = Absent::Id(thread.as_str().to_owned());
        self.guard.require(caller, operation, ResourceRef::task(thread.as_str()), absent).await
    }
}

/// A thread whose task is deleted takes nothing and is absent.
fn stored(stored: bool, thread: &TaskId) -> Result<(), Error> {
    if stored { Ok(()) } else { Err(Error::NotFound(Absent::Id(thread.as_str().to_owned()))) }
}

fn check_count(what: &str, count: usize) -> Result<(), Error> {
    if count <= MAX_ITEMS { Ok(()) } else { Err(Error::TooLarge(format!("A call holds at most {MAX_ITEMS} {what}."))) }
}
