use agentex_authz::Principal;
use agentex_domain::RunSchedule;
use agentex_domain::ports::ScheduleError;
use futures::StreamExt as _;
use serde_json::Value;

use super::run::clock_of;
use super::{Schedules, failure, names};
use crate::{Caller, Error};

/// How many schedules are read at once.
const PAGE: u32 = 500;
/// How many are looked at at the same time.
const AT_ONCE: usize = 8;

/// What was wrong with a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Whole,
    NoClock,
    NoAgent,
}

impl Schedules {
    /// Makes good what a process left that died in the middle of a change: run schedules without a clock get one, and those
    /// of deleted agents go. What others are changing meanwhile comes out as they want it. Answers how many were mended.
    ///
    /// # Errors
    /// When the store or the scheduler does not answer; what was not looked at yet waits for the next call.
    pub async fn mend(&self) -> Result<u64, Error> {
        if self.scheduler.is_none() {
            return Ok(0);
        }
        let mut after = None;
        let mut mended = 0;
        loop {
            let page = self.stores.run_schedules.page(after, PAGE).await?;
            let is_last = page.len() < PAGE as usize;
            after = page.last().map(|last| last.id.clone());
            let mut looks =
                futures::stream::iter(page).map(|schedule| self.mend_one(schedule)).buffer_unordered(AT_ONCE);
            while let Some(found) = looks.next().await {
                mended += u64::from(found? != Found::Whole);
            }
            if is_last {
                return Ok(mended);
            }
        }
    }

    async fn mend_one(&self, schedule: RunSchedule) -> Result<Found, Error> {
        let agent = self.stores.agents.find(&schedule.agent_id).await?;
        if agent.is_none_or(|agent| agent.is_deleted()) {
            let creator = Principal::from_json(Value::Object(schedule.creator_principal.clone()));
            return match self.delete_run(&Caller::Principal(creator), &schedule).await {
                Ok(()) => {
                    tracing::warn!(schedule.id = %schedule.id, "a schedule was left behind by its deleted agent");
                    Ok(Found::NoAgent)
                }
                // Somebody else was faster.
                Err(Error::NotFound(_)) => Ok(Found::Whole),
                Err(error) => Err(error),
            };
        }
        if schedule.end_at.is_some_and(|end| end <= self.clock.now()) {
            // Temporal forgets schedules that are over.
            return Ok(Found::Whole);
        }
        let scheduler = self.scheduler()?;
        let failed = |error| failure::of_run("create", &schedule, error);
        match scheduler.describe(&names::clock_id(&schedule.id)).await {
            Ok(_) => Ok(Found::Whole),
            Err(ScheduleError::NotFound) => match scheduler.create(&clock_of(&schedule)).await {
                Ok(()) => {
                    tracing::warn!(schedule.id = %schedule.id, "a schedule without a clock was given one");
                    Ok(Found::NoClock)
                }
                Err(ScheduleError::AlreadyExists) => Ok(Found::Whole),
                Err(error) => Err(failed(error)),
            },
            Err(error) => Err(failed(error)),
        }
    }
}
