//! What becomes of the schedules of an agent that is deleted.

use agentex_authz::ResourceRef;
use agentex_domain::AgentId;
use agentex_domain::ports::ScheduleError;
use futures::StreamExt as _;

use super::workflow::removed;
use super::{Schedules, failure, names};
use crate::{Caller, Error};

/// How many schedules are removed at the same time.
const AT_ONCE: usize = 8;
/// Most workflow schedules of one agent that are looked for at once.
const BATCH: u32 = 1000;

impl Schedules {
    /// Removes every schedule of an agent that is gone. What cannot be removed now stays: a run schedule is removed when it
    /// fires next, a workflow schedule by whoever runs the scheduler.
    pub(crate) async fn forget_agent(&self, caller: &Caller, agent: &AgentId) {
        let (this, caller, id) = (self.clone(), caller.clone(), agent.clone());
        let work = self.background.spawn(async move {
            if let Err(error) = this.forget_runs(&caller, &id).await {
                tracing::warn!(agent.id = %id, %error, "run schedules of a deleted agent are left until they fire");
            }
            if let Err(error) = this.forget_workflows(&caller, &id).await {
                tracing::warn!(agent.id = %id, %error, "workflow schedules of a deleted agent are left");
            }
        });
        if let Err(error) = work.await {
            tracing::error!(%error, "the schedules of a deleted agent were not all removed");
        }
    }

    async fn forget_runs(&self, caller: &Caller, agent: &AgentId) -> Result<(), Error> {
        if self.scheduler.is_none() {
            return Ok(());
        }
        let ids = self.stores.run_schedules.of_agent(agent).await?;
        futures::stream::iter(ids)
            .for_each_concurrent(AT_ONCE, |id| async move {
                let outcome = match self.stores.run_schedules.find(&id).await {
                    Ok(Some(schedule)) => self.delete_run(caller, &schedule).await,
                    Ok(None) => Ok(()),
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = outcome {
                    tracing::warn!(schedule.id = %id, %error, "a schedule of a deleted agent is left until it fires");
                }
            })
            .await;
        Ok(())
    }

    async fn forget_workflows(&self, caller: &Caller, agent: &AgentId) -> Result<(), Error> {
        let Ok(scheduler) = self.workflow_scheduler() else { return Ok(()) };
        let prefix = names::workflow_prefix(agent);
        let failed = |error: ScheduleError| failure::of("delete", &prefix, error);
        let entries = scheduler.list(&prefix, None, BATCH).await.map_err(failed)?.entries;
        futures::stream::iter(entries)
            .for_each_concurrent(AT_ONCE, |entry| async move {
                let remove = removed(&**scheduler, &entry.id, |error| failure::of("delete", &entry.id, error));
                let resource = ResourceRef::schedule(&entry.id);
                if let Err(error) = self.lifecycle.remove_elsewhere(caller, &resource, remove).await {
                    tracing::warn!(schedule = entry.id, %error, "a workflow schedule of a deleted agent is left");
                }
            })
            .await;
        Ok(())
    }
}
