mod definition;
mod description;
mod skips;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use agentex_domain::ports::{
    Clock, NewSchedule, ScheduleDescription, ScheduleError, ScheduleListing, Scheduler, StartWorkflow,
};
use agentex_domain::{RunScheduleId, RunTrigger, Timestamp};
use async_trait::async_trait;
use serde_json::Value;
use temporalio_common::protos::temporal::api::schedule::v1::{
    Schedule, SchedulePatch, ScheduleSpec, ScheduleState, TriggerImmediatelyRequest,
};
use temporalio_common::protos::temporal::api::workflowservice::v1::{
    CreateScheduleRequest, DeleteScheduleRequest, DescribeScheduleRequest, DescribeScheduleResponse,
    ListSchedulesRequest, PatchScheduleRequest, UpdateScheduleRequest,
};
use tonic::Code;

use crate::failure::CallError;
use crate::gateway::{Ended, request_id};
use crate::{Temporal, names};

/// Entries per page of a listing.
const PAGE: i32 = 500;
/// Entries a listing looks at, at most.
const SCAN_LIMIT: usize = 10_000;
/// How often a change is tried that somebody else's change got in the way of.
const CHANGE_ATTEMPTS: u32 = 8;

/// Schedules kept by Temporal, which is their only store.
///
/// Run schedules and the retention sweep start workflows on the product's own queue, where a `Worker` has to
/// listen; other workflows go to the queue they name. An occurrence that comes while the one before runs is passed over;
/// those that came while Temporal was down are made up for as Temporal does by default.
///
/// Repeated local hours of a zone are one moment to [`Scheduler::skip`]: both occurrences are passed over.
pub struct TemporalScheduler {
    temporal: Temporal,
    queue: String,
    clock: Arc<dyn Clock>,
}

impl TemporalScheduler {
    /// Schedules in `temporal`; workflows of the product's own are started on `queue`.
    #[must_use]
    pub fn new(temporal: Temporal, queue: impl Into<String>, clock: Arc<dyn Clock>) -> Self {
        Self { temporal, queue: queue.into(), clock }
    }

    async fn fetch(&self, id: &str) -> Result<Found, ScheduleError> {
        let request = DescribeScheduleRequest { namespace: self.temporal.namespace(), schedule_id: id.to_owned() };
        Found::of(self.temporal.describe_schedule(request).await?)
    }

    /// Describes, lets `change` decide, and stores what it made; again when somebody else was faster.
    ///
    /// Temporal says so for some schedules only; for others it drops the late change without a word, so that `done` has to
    /// tell from what was there before and is there afterwards.
    async fn change(
        &self,
        id: &str,
        change: impl Fn(&Found) -> Result<Schedule, ScheduleError> + Send + Sync,
        done: impl Fn(&Found, &Found) -> bool + Send + Sync,
    ) -> Result<(), ScheduleError> {
        let mut found = self.fetch(id).await?;
        for _ in 0..CHANGE_ATTEMPTS {
            let schedule = change(&found)?;
            let request = UpdateScheduleRequest {
                namespace: self.temporal.namespace(),
                schedule_id: id.to_owned(),
                schedule: Some(schedule),
                conflict_token: found.conflict_token.clone(),
                identity: self.temporal.identity(),
                request_id: request_id(),
                ..Default::default()
            };
            match self.temporal.update_schedule(request).await {
                Ok(_) => {}
                Err(CallError::Refused(status)) if status.code() == Code::FailedPrecondition => {}
                Err(error) => return Err(error.into()),
            }
            let before = std::mem::replace(&mut found, self.fetch(id).await?);
            if done(&before, &found) {
                return Ok(());
            }
        }
        Err(ScheduleError::Failed("too many changes of the schedule at the same time".into()))
    }

    async fn patch(&self, id: &str, patch: SchedulePatch) -> Result<(), ScheduleError> {
        self.temporal
            .patch_schedule(PatchScheduleRequest {
                namespace: self.temporal.namespace(),
                schedule_id: id.to_owned(),
                patch: Some(patch),
                identity: self.temporal.identity(),
                request_id: request_id(),
            })
            .await?;
        Ok(())
    }
}

/// A schedule as Temporal describes it, with what must be there.
struct Found {
    schedule: Schedule,
    spec: ScheduleSpec,
    upcoming: Vec<Timestamp>,
    conflict_token: Vec<u8>,
    answer: DescribeScheduleResponse,
}

impl Found {
    fn of(mut answer: DescribeScheduleResponse) -> Result<Self, ScheduleError> {
        let schedule = answer.schedule.take().ok_or_else(|| ScheduleError::Failed("an empty answer".into()))?;
        let spec = schedule.spec.clone().unwrap_or_default();
        let upcoming = description::upcoming(answer.info.as_ref());
        let conflict_token = std::mem::take(&mut answer.conflict_token);
        Ok(Self { schedule, spec, upcoming, conflict_token, answer })
    }

    fn with_spec(&self, spec: ScheduleSpec) -> Schedule {
        Schedule { spec: Some(spec), ..self.schedule.clone() }
    }
}

#[async_trait]
impl Scheduler for TemporalScheduler {
    fn starts_workflows(&self) -> bool {
        true
    }

    #[tracing::instrument(name = "temporal.schedule.create", skip_all, fields(schedule.id = %schedule.id), err)]
    async fn create(&self, schedule: &NewSchedule) -> Result<(), ScheduleError> {
        self.temporal
            .create_schedule(CreateScheduleRequest {
                namespace: self.temporal.namespace(),
                schedule_id: schedule.id.clone(),
                schedule: Some(definition::schedule(schedule, &self.queue)),
                identity: self.temporal.identity(),
                request_id: request_id(),
                memo: Some(definition::memo(schedule)),
                ..Default::default()
            })
            .await?;
        Ok(())
    }

    async fn describe(&self, id: &str) -> Result<ScheduleDescription, ScheduleError> {
        Ok(description::describe(self.fetch(id).await?, self.clock.now()))
    }

    async fn list(
        &self,
        prefix: &str,
        only: Option<Arc<[String]>>,
        limit: u32,
    ) -> Result<ScheduleListing, ScheduleError> {
        let only = only.map(|only| only.iter().cloned().collect::<HashSet<_>>());
        let mut listing = ScheduleListing::default();
        if limit == 0 || only.as_ref().is_some_and(HashSet::is_empty) {
            return Ok(listing);
        }
        let wanted = |id: &str| id.starts_with(prefix) && only.as_ref().is_none_or(|only| only.contains(id));
        let (mut token, mut seen) = (Vec::new(), 0);
        loop {
            let page = self
                .temporal
                .list_schedules(ListSchedulesRequest {
                    namespace: self.temporal.namespace(),
                    maximum_page_size: PAGE,
                    next_page_token: token,
                    ..Default::default()
                })
                .await?;
            seen += page.schedules.len();
            let entries = page.schedules.into_iter().filter(|one| wanted(&one.schedule_id)).map(description::entry);
            listing.entries.extend(entries);
            listing.entries.truncate(limit as usize);
            // A page says nothing about whether there is more: only the token does.
            token = page.next_page_token;
            if token.is_empty() || listing.entries.len() == limit as usize {
                return Ok(listing);
            }
            if seen >= SCAN_LIMIT {
                listing.truncated = true;
                return Ok(listing);
            }
        }
    }

    #[tracing::instrument(name = "temporal.schedule.update", skip_all, fields(schedule.id = %schedule.id), err)]
    async fn update(&self, schedule: &NewSchedule) -> Result<(), ScheduleError> {
        let now = self.clock.now();
        let new = definition::schedule(schedule, &self.queue);
        let change = |found: &Found| {
            let mut next = new.clone();
            if let Some(spec) = &mut next.spec {
                skips::carry_over(&found.spec, spec, definition::zone(&schedule.timing), now);
            }
            // What operators set in Temporal stays.
            next.policies = found.schedule.policies.or(next.policies);
            let state = found.schedule.state.clone().unwrap_or_default();
            next.state = Some(ScheduleState { paused: schedule.paused, ..state });
            Ok(next)
        };
        // Another replacement may have come after this one, or instead of it, which looks the same to everybody.
        let done = |before: &Found, after: &Found| {
            definition::revision(&before.schedule) != definition::revision(&after.schedule)
        };
        self.change(&schedule.id, change, done).await
    }

    async fn pause(&self, id: &str, note: &str) -> Result<(), ScheduleError> {
        self.patch(id, SchedulePatch { pause: note_or_space(note), ..Default::default() }).await
    }

    async fn resume(&self, id: &str, note: &str) -> Result<(), ScheduleError> {
        self.patch(id, SchedulePatch { unpause: note_or_space(note), ..Default::default() }).await
    }

    async fn trigger(&self, id: &str) -> Result<(), ScheduleError> {
        let trigger = Some(TriggerImmediatelyRequest::default());
        self.patch(id, SchedulePatch { trigger_immediately: trigger, ..Default::default() }).await
    }

    async fn skip(&self, id: &str, at: Timestamp) -> Result<(), ScheduleError> {
        let now = self.clock.now();
        let change = |found: &Found| {
            if at <= now {
                return Err(ScheduleError::Past);
            }
            if !found.upcoming.contains(&at) {
                return Err(ScheduleError::NotUpcoming);
            }
            let mut spec = found.spec.clone();
            skips::add(&mut spec, at, now);
            Ok(found.with_spec(spec))
        };
        self.change(id, change, |_, found| skips::upcoming(&found.spec, now).contains(&at)).await
    }

    async fn unskip(&self, id: &str, at: Timestamp) -> Result<(), ScheduleError> {
        let now = self.clock.now();
        let change = |found: &Found| {
            if at <= now {
                return Err(ScheduleError::Past);
            }
            let mut spec = found.spec.clone();
            if !skips::remove(&mut spec, at, now) {
                return Err(ScheduleError::NotSkipped);
            }
            Ok(found.with_spec(spec))
        };
        self.change(id, change, |_, found| !skips::upcoming(&found.spec, now).contains(&at)).await
    }

    #[tracing::instrument(name = "temporal.schedule.delete", skip_all, fields(schedule.id = %id), err)]
    async fn delete(&self, id: &str) -> Result<(), ScheduleError> {
        self.temporal
            .delete_schedule(DeleteScheduleRequest {
                namespace: self.temporal.namespace(),
                schedule_id: id.to_owned(),
                identity: self.temporal.identity(),
            })
            .await?;
        Ok(())
    }

    #[tracing::instrument(name = "temporal.schedule.run", skip_all, fields(schedule.id = %schedule, fire.id = %fire_id), err)]
    async fn run_now(&self, schedule: &RunScheduleId, fire_id: &str) -> Result<(), ScheduleError> {
        let workflow = StartWorkflow {
            workflow_type: names::SCHEDULED_RUN.to_owned(),
            id: fire_id.to_owned(),
            arguments: vec![Value::from(schedule.as_str()), Value::from(RunTrigger::Manual.as_str())],
            task_queue: self.queue.clone(),
        };
        match self.temporal.start_once(&workflow, Ended::Counts).await.map_err(ScheduleError::from) {
            Ok(()) | Err(ScheduleError::AlreadyExists) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Temporal takes an empty note for no change at all.
fn note_or_space(note: &str) -> String {
    if note.is_empty() { " ".to_owned() } else { note.to_owned() }
}

impl fmt::Debug for TemporalScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TemporalScheduler")
            .field("temporal", &self.temporal)
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
