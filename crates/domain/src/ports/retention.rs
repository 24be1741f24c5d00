use async_trait::async_trait;

use crate::ports::StoreError;
use crate::{
    CleanCounts, CleanExtent, CleanOverrides, CleanRefusal, CleanRules, Message, Snapshot, TaskActivity, TaskId,
    TaskState, Timestamp,
};

/// Messages or states read at once by an export, at most.
pub const SNAPSHOT_PAGE: u32 = 500;

/// A clean to be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanOrder {
    /// When it may be made.
    pub rules: CleanRules,
    /// What it takes away.
    pub extent: CleanExtent,
    /// Whether soft-deleted tasks are there at all.
    pub deleted_too: bool,
    /// The time to mark the task with.
    pub at: Timestamp,
}

/// What came of a clean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaned {
    /// The contents are gone and the task is marked.
    Done {
        /// What went.
        counts: CleanCounts,
        /// What was passed over.
        overrides: CleanOverrides,
    },
    /// They were gone before; nothing was changed.
    Before(Timestamp),
    /// Not now; nothing was changed.
    Refused(CleanRefusal),
    /// There is no such task.
    Absent,
}

/// What came of putting contents back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rehydrated {
    /// Everything is there again and the task is no longer marked as cleaned. An empty snapshot puts nothing back and leaves
    /// the mark.
    Done,
    /// The task is not marked as cleaned; nothing was changed.
    NotCleaned,
    /// There is no such task, or it is deleted.
    Absent,
}

/// A task that a sweep may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CleanCandidate {
    /// The task.
    pub task_id: TaskId,
    /// Whether several agents are linked to it.
    pub is_shared: bool,
}

/// A part of a task's contents.
#[derive(Debug, Clone, PartialEq)]
pub enum SnapshotPage {
    /// The next messages, at least one.
    Messages(Vec<Message>),
    /// The next states, at least one; after all messages.
    States(Vec<TaskState>),
}

/// The contents of one task as they were at one moment, read piece by piece. It may hold a transaction open: read it
/// without waiting for anything slow in between, and drop it when done.
#[async_trait]
pub trait SnapshotPages: Send {
    /// The next piece of at most [`SNAPSHOT_PAGE`] items; `None` when that was all. Both kinds come by `created_at`, then by
    /// id, bytewise.
    async fn next(&mut self) -> Result<Option<SnapshotPage>, StoreError>;
}

/// Takes contents of tasks away and puts them back. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RetentionRepository: Send + Sync {
    /// The task's messages and states as they are at the moment of the call; `None` when it is absent or deleted.
    async fn export(&self, task_id: &TaskId) -> Result<Option<Box<dyn SnapshotPages>>, StoreError>;

    /// What decides whether the task may be cleaned; `None` when there is no such task. Deleted ones are found.
    async fn activity(&self, task_id: &TaskId) -> Result<Option<TaskActivity>, StoreError>;

    /// Takes the contents of a task away, sets the cursors of its trackers back and marks it, all or nothing.
    ///
    /// The rules are applied to what is there at that moment, and nothing that arrives later is taken away: events, messages
    /// and states of the task wait until the clean has ended. Of the task's row nothing changes but the mark and, when
    /// everything goes, the parameters.
    async fn clean(&self, task_id: &TaskId, order: &CleanOrder) -> Result<Cleaned, StoreError>;

    /// Puts contents back into a cleaned task, with the ids and times they come with, all or nothing.
    ///
    /// # Errors
    /// [`StoreError::Duplicate`] when one of the ids is taken, also by another item of the snapshot.
    async fn rehydrate(&self, snapshot: &Snapshot) -> Result<Rehydrated, StoreError>;

    /// Tasks with the contents still there that belong to an agent with one of these names and did not change since
    /// `idle_since`, whatever their status, by id in the store's own order of texts: at most `limit` after the task
    /// `after`. Without names there are none.
    async fn candidates(
        &self,
        agents: &[String],
        idle_since: Timestamp,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<CleanCandidate>, StoreError>;
}
