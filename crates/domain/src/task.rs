use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{AgentId, JsonObject, TaskId, Timestamp};

/// The reason a new task carries, whatever its agent's type.
const REASON_CREATED: &str = "Task created, forwarding to ACP server";

/// One conversation or job given to an agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Task {
    /// Server-made id.
    pub id: TaskId,
    /// Unique among tasks that are not deleted.
    pub name: Option<String>,
    /// Where it stands.
    pub status: TaskStatus,
    /// Why.
    pub status_reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Last change of any field.
    pub updated_at: Timestamp,
    /// When retention removed its contents.
    pub cleaned_at: Option<Timestamp>,
    /// What the creator passed to the agent; may hold secrets, so lists leave it out.
    pub params: Option<JsonObject>,
    /// The caller's own notes.
    pub task_metadata: Option<JsonObject>,
}

/// A task about to be made, with the agent it is made through.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTask {
    /// Its id, chosen before the insert because it is registered for authorization first.
    pub id: TaskId,
    /// The agent that will work on it.
    pub agent_id: AgentId,
    /// Unique among live tasks when given.
    pub name: Option<String>,
    /// Passed to the agent.
    pub params: Option<JsonObject>,
    /// The caller's notes.
    pub task_metadata: Option<JsonObject>,
    /// When it is made.
    pub created_at: Timestamp,
}

impl NewTask {
    /// The task as it is right after the insert.
    #[must_use]
    pub fn into_task(self) -> Task {
        Task {
            id: self.id,
            name: self.name,
            status: TaskStatus::Running,
            status_reason: Some(REASON_CREATED.to_owned()),
            created_at: self.created_at,
            updated_at: self.created_at,
            cleaned_at: None,
            params: self.params,
            task_metadata: self.task_metadata,
        }
    }
}

/// Where a task stands. Everything but `Running` and `Interrupted` is terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TaskStatus {
    /// Stopped by its owner.
    Canceled,
    /// Done.
    Completed,
    /// Something went wrong.
    Failed,
    /// A turn is in flight, or the task is ready for the next one.
    Running,
    /// Ended by force.
    Terminated,
    /// Took too long.
    TimedOut,
    /// Soft-deleted: not shown any more.
    Deleted,
    /// The turn was stopped; the task can go on.
    Interrupted,
}

impl TaskStatus {
    /// Every status with its wire text.
    pub const ALL: [(&'static str, Self); 8] = [
        ("CANCELED", Self::Canceled),
        ("COMPLETED", Self::Completed),
        ("FAILED", Self::Failed),
        ("RUNNING", Self::Running),
        ("TERMINATED", Self::Terminated),
        ("TIMED_OUT", Self::TimedOut),
        ("DELETED", Self::Deleted),
        ("INTERRUPTED", Self::Interrupted),
    ];

    /// The statuses a task can still leave.
    pub const LIVE: [Self; 2] = [Self::Running, Self::Interrupted];

    /// The wire text.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canceled => "CANCELED",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Running => "RUNNING",
            Self::Terminated => "TERMINATED",
            Self::TimedOut => "TIMED_OUT",
            Self::Deleted => "DELETED",
            Self::Interrupted => "INTERRUPTED",
        }
    }

    /// The status with this wire text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().find(|(name, _)| *name == text).map(|(_, status)| *status)
    }

    /// Whether no turn can follow.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Running | Self::Interrupted)
    }
}

impl fmt::Display for TaskStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A change of status with a cause. Stores perform it as one guarded statement: it happens only from a legal source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transition {
    /// The work is done.
    Complete,
    /// The work went wrong.
    Fail,
    /// The owner stopped it.
    Cancel,
    /// It was ended by force.
    Terminate,
    /// It took too long.
    TimeOut,
    /// The current turn was stopped.
    Interrupt,
    /// An interrupted task takes its next turn.
    Resume,
    /// The agent accepted a create for a task that had failed before.
    Recover,
    /// The task disappears from view.
    Delete,
}

impl Transition {
    /// Every transition.
    pub const ALL: [Self; 9] = [
        Self::Complete,
        Self::Fail,
        Self::Cancel,
        Self::Terminate,
        Self::TimeOut,
        Self::Interrupt,
        Self::Resume,
        Self::Recover,
        Self::Delete,
    ];

    /// The status it leads to.
    #[must_use]
    pub const fn target(self) -> TaskStatus {
        match self {
            Self::Complete => TaskStatus::Completed,
            Self::Fail => TaskStatus::Failed,
            Self::Cancel => TaskStatus::Canceled,
            Self::Terminate => TaskStatus::Terminated,
            Self::TimeOut => TaskStatus::TimedOut,
            Self::Interrupt => TaskStatus::Interrupted,
            Self::Resume | Self::Recover => TaskStatus::Running,
            Self::Delete => TaskStatus::Deleted,
        }
    }

    /// The statuses it is legal from.
    #[must_use]
    pub const fn sources(self) -> &'static [TaskStatus] {
        match self {
            Self::Complete | Self::Fail | Self::Cancel | Self::Terminate | Self::TimeOut => &TaskStatus::LIVE,
            Self::Interrupt => &[TaskStatus::Running],
            Self::Resume => &[TaskStatus::Interrupted],
            Self::Recover => &[TaskStatus::Failed],
            Self::Delete => &[
                TaskStatus::Canceled,
                TaskStatus::Completed,
                TaskStatus::Failed,
                TaskStatus::Running,
                TaskStatus::Terminated,
                TaskStatus::TimedOut,
                TaskStatus::Interrupted,
            ],
        }
    }

    /// Whether a task in `status` may take it.
    #[must_use]
    pub fn is_legal_from(self, status: TaskStatus) -> bool {
        self.sources().contains(&status)
    }

    /// The reason recorded when the caller gives none.
    #[must_use]
    pub const fn default_reason(self) -> &'static str {
        match self {
            Self::Complete => "Task completed",
            Self::Fail => "Task failed",
            Self::Cancel => "Task canceled",
            Self::Terminate => "Task terminated",
            Self::TimeOut => "Task timed_out",
            Self::Interrupt => "Task interrupted",
            Self::Resume => "Task resumed on next turn",
            Self::Recover => "Task forwarded to ACP server",
            Self::Delete => "Task deleted successfully",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// tasks §10: 16
    #[test]
    fn every_pair_of_status_and_transition_is_decided() {
        use TaskStatus::{Completed, Deleted, Failed, Interrupted, Running};

        let legal = |transition: Transition| -> Vec<TaskStatus> {
            TaskStatus::ALL.iter().map(|(_, status)| *status).filter(|s| transition.is_legal_from(*s)).collect()
        };

        for ending in
            [Transition::Complete, Transition::Fail, Transition::Cancel, Transition::Terminate, Transition::TimeOut]
        {
            assert_eq!(legal(ending), [Running, Interrupted], "{ending:?}");
        }
        assert_eq!(legal(Transition::Interrupt), [Running]);
        assert_eq!(legal(Transition::Resume), [Interrupted]);
        assert_eq!(legal(Transition::Recover), [Failed]);
        assert_eq!(legal(Transition::Delete).len(), TaskStatus::ALL.len() - 1);
        assert!(!Transition::Delete.is_legal_from(Deleted));
        assert!(Transition::Delete.is_legal_from(Completed));
    }

    #[test]
    fn only_running_and_interrupted_are_live() {
        for (name, status) in TaskStatus::ALL {
            assert_eq!(status.is_terminal(), !TaskStatus::LIVE.contains(&status), "{name}");
            assert_eq!(TaskStatus::parse(name), Some(status));
            assert_eq!(serde_json::to_value(status).unwrap(), name);
        }
        assert_eq!(TaskStatus::parse("running"), None);
    }
}
