use std::sync::Arc;

use async_trait::async_trait;

use crate::ports::{Departure, Settlement, StoreError};
use crate::{AgentId, Intent, RunSchedule, RunScheduleId, Timestamp};

/// Keeps the rows of run schedules. Every method is atomic by itself.
#[cfg_attr(any(test, feature = "mock"), mockall::automock)]
#[async_trait]
pub trait RunScheduleRepository: Send + Sync {
    /// Stores a new schedule. [`StoreError::Duplicate`] when the agent has one of that name that is not deleted.
    async fn insert(&self, schedule: &RunSchedule, settlement: Option<Settlement>) -> Result<(), StoreError>;

    /// The schedule with that id, deleted or not.
    async fn find(&self, id: &RunScheduleId) -> Result<Option<RunSchedule>, StoreError>;

    /// The agent's schedule of that name that is not deleted.
    async fn find_by_name(&self, agent: &AgentId, name: &str) -> Result<Option<RunSchedule>, StoreError>;

    /// Up to `limit` schedules of the agent that are not deleted, newest first; where `only` is given, those among it.
    async fn list(
        &self,
        agent: &AgentId,
        only: Option<Arc<[String]>>,
        limit: u32,
    ) -> Result<Vec<RunSchedule>, StoreError>;

    /// Stores everything of `schedule` that may change, if the stored version is still `schedule.version`, and counts the
    /// version on. `None`: somebody else was faster, or it is deleted. [`StoreError::Duplicate`] as with `insert`.
    async fn update(&self, schedule: &RunSchedule) -> Result<Option<RunSchedule>, StoreError>;

    /// Sets `paused`; answers the schedule unless it is deleted.
    async fn set_paused(
        &self,
        id: &RunScheduleId,
        paused: bool,
        at: Timestamp,
    ) -> Result<Option<RunSchedule>, StoreError>;

    /// Marks the schedule deleted and frees its name. `None`: it was deleted or is not there.
    async fn delete(
        &self,
        id: &RunScheduleId,
        at: Timestamp,
        departure: Option<Departure>,
    ) -> Result<Option<Option<Intent>>, StoreError>;

    /// Up to `limit` schedules of all agents, deleted ones among them, that are not deleted themselves: those with an id after
    /// `after`, by id.
    async fn page(&self, after: Option<RunScheduleId>, limit: u32) -> Result<Vec<RunSchedule>, StoreError>;

    /// Schedules of an agent that are not deleted, whatever their number.
    async fn of_agent(&self, agent: &AgentId) -> Result<Vec<RunScheduleId>, StoreError>;
}
