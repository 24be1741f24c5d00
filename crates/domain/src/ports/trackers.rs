use async_trait::async_trait;

use crate::ports::{StoreError, TaskItemFilter};
use crate::{Direction, EventId, PageRequest, Timestamp, Tracker, TrackerId};

/// What trackers can be sorted by; ties are broken by `updated_at`, `created_at`, then id, in the same direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrackerOrder {
    /// Last change.
    #[default]
    UpdatedAt,
    /// When they were made.
    CreatedAt,
    /// Id.
    Id,
    /// Id of the agent.
    AgentId,
    /// Id of the task.
    TaskId,
    /// Status text, bytewise; trackers without one sort as the smallest.
    Status,
}

/// What an agent says about its progress.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrackerChange {
    /// The last event it has processed; `None` keeps what was there.
    pub last_processed_event_id: Option<EventId>,
    /// Replaces the status, with `None` too.
    pub status: Option<String>,
    /// Replaces the reason, with `None` too.
    pub status_reason: Option<String>,
}

/// What a change of a tracker did.
#[derive(Debug, Clone, PartialEq)]
pub enum TrackerUpdate {
    /// It happened; this is the tracker now.
    Done(Tracker),
    /// The event is absent, or of another task or agent than the tracker; nothing was changed.
    UnknownEvent,
    /// The event comes before the one processed last; nothing was changed.
    Backwards {
        /// The sequence id of the event processed last.
        from: i64,
        /// The sequence id of the event given.
        to: i64,
    },
    /// There is no such tracker.
    Absent,
}

impl TrackerUpdate {
    /// Why a cursor may not move from the event with the sequence id `from` to the one with `to`. Where the event processed
    /// last is gone, every event may follow it.
    #[must_use]
    pub fn refusal(from: Option<i64>, to: Option<i64>) -> Option<Self> {
        match (from, to) {
            (_, None) => Some(Self::UnknownEvent),
            (Some(from), Some(to)) if to < from => Some(Self::Backwards { from, to }),
            (_, Some(_)) => None,
        }
    }
}

/// Keeps trackers; they are made together with their tasks. Every method is atomic by itself. The trackers of a deleted
/// task are absent for all of them.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait TrackerRepository: Send + Sync {
    /// The tracker with this id, as it is now.
    async fn find(&self, id: &TrackerId) -> Result<Option<Tracker>, StoreError>;

    /// Changes a tracker. Its cursor never moves backwards, however many change it at the same time; moving it to where it is
    /// is fine.
    async fn update(&self, id: &TrackerId, change: &TrackerChange, at: Timestamp) -> Result<TrackerUpdate, StoreError>;

    /// One page of trackers, as they are now. A filter that nothing fits is answered without a query.
    async fn list(
        &self,
        filter: &TaskItemFilter,
        order: TrackerOrder,
        direction: Direction,
        page: PageRequest,
    ) -> Result<Vec<Tracker>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_stays_or_moves_forwards() {
        assert_eq!(TrackerUpdate::refusal(None, Some(1)), None);
        assert_eq!(TrackerUpdate::refusal(Some(1), Some(1)), None);
        assert_eq!(TrackerUpdate::refusal(Some(1), Some(2)), None);
        assert_eq!(TrackerUpdate::refusal(Some(2), Some(1)), Some(TrackerUpdate::Backwards { from: 2, to: 1 }));
        assert_eq!(TrackerUpdate::refusal(Some(2), None), Some(TrackerUpdate::UnknownEvent));
    }
}
