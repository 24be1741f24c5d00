//! A scheduler that keeps schedules of both kinds in memory, counts what it is asked, and fails as it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use agentex_domain::RunScheduleId;
use agentex_domain::ScheduledAction;
use agentex_domain::Timestamp;
use agentex_domain::ports::{
    NewSchedule, ScheduleDescription, ScheduleEntry, ScheduleError, ScheduleListing, Scheduler,
};
use async_trait::async_trait;

/// A schedule and the occurrences of it that are skipped.
type One = (NewSchedule, BTreeSet<Timestamp>);

/// Which call, how, and whether it is done all the same.
type Failure = (&'static str, fn() -> ScheduleError, bool);

#[derive(Default)]
struct Kept {
    schedules: BTreeMap<String, One>,
    calls: Vec<String>,
    /// Which calls fail next, and whether they are done all the same.
    fails: Vec<Failure>,
    describing: usize,
    most_describing: usize,
}

#[derive(Clone, Default)]
pub(super) struct Keeper(Arc<Mutex<Kept>>);

impl Keeper {
    /// The next call of that name fails so; `done`: what it asks is done although.
    pub(super) fn fail(&self, call: &'static str, error: fn() -> ScheduleError, done: bool) {
        self.0.lock().unwrap().fails.push((call, error, done));
    }

    /// The calls so far, which are then forgotten.
    pub(super) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().calls)
    }

    /// How many schedules were described at the same time, at most.
    pub(super) fn most_described_at_once(&self) -> usize {
        self.0.lock().unwrap().most_describing
    }

    pub(super) fn kept(&self, id: &str) -> Option<NewSchedule> {
        self.0.lock().unwrap().schedules.get(id).map(|(schedule, _)| schedule.clone())
    }

    /// Loses a schedule as if somebody had removed it.
    pub(super) fn lose(&self, id: &str) {
        self.0.lock().unwrap().schedules.remove(id);
    }

    fn call<T>(
        &self,
        name: &'static str,
        id: &str,
        act: impl FnOnce(&mut Kept) -> Result<T, ScheduleError>,
    ) -> Result<T, ScheduleError> {
        let mut kept = self.0.lock().unwrap();
        kept.calls.push(format!("{name} {id}"));
        match kept.fails.iter().position(|(call, _, _)| *call == name) {
            None => act(&mut kept),
            Some(place) => {
                let (_, error, done) = kept.fails.remove(place);
                if done {
                    act(&mut kept)?;
                }
                Err(error())
            }
        }
    }

    fn on(
        &self,
        name: &'static str,
        id: &str,
        act: impl FnOnce(&mut One) -> Result<(), ScheduleError>,
    ) -> Result<(), ScheduleError> {
        self.call(name, id, |kept| act(kept.schedules.get_mut(id).ok_or(ScheduleError::NotFound)?))
    }
}

#[async_trait]
impl Scheduler for Keeper {
    fn starts_workflows(&self) -> bool {
        true
    }

    async fn create(&self, schedule: &NewSchedule) -> Result<(), ScheduleError> {
        self.call("create", &schedule.id, |kept| {
            if kept.schedules.contains_key(&schedule.id) {
                return Err(ScheduleError::AlreadyExists);
            }
            kept.schedules.insert(schedule.id.clone(), (schedule.clone(), BTreeSet::new()));
            Ok(())
        })
    }

    async fn describe(&self, id: &str) -> Result<ScheduleDescription, ScheduleError> {
        {
            let mut kept = self.0.lock().unwrap();
            kept.describing += 1;
            kept.most_describing = kept.most_describing.max(kept.describing);
        }
        // Whoever else wants to ask gets the chance before this one is answered.
        tokio::task::yield_now().await;
        self.call("describe", id, |kept| {
            kept.describing -= 1;
            let (schedule, skipped) = kept.schedules.get(id).ok_or(ScheduleError::NotFound)?;
            let NewSchedule { timing, action, paused, definition, .. } = schedule.clone();
            Ok(ScheduleDescription {
                timing,
                action: Some(action),
                paused,
                note: None,
                next_action_times: Vec::new(),
                skipped_action_times: skipped.iter().copied().collect(),
                last_action_time: None,
                actions_taken: 0,
                actions_missed: 0,
                created_at: None,
                definition,
            })
        })
    }

    async fn list(
        &self,
        prefix: &str,
        only: Option<Arc<[String]>>,
        limit: u32,
    ) -> Result<ScheduleListing, ScheduleError> {
        self.call("list", prefix, |kept| {
            let wanted = |id: &&String| id.starts_with(prefix) && only.as_ref().is_none_or(|only| only.contains(id));
            let ids: Vec<&String> = kept.schedules.keys().filter(wanted).take(limit as usize).collect();
            let entries = ids.into_iter().map(|id| {
                let (schedule, _) = &kept.schedules[id];
                let workflow_name = match &schedule.action {
                    ScheduledAction::Workflow(action) => Some(action.workflow_name.clone()),
                    _ => None,
                };
                ScheduleEntry { id: id.clone(), paused: schedule.paused, workflow_name, next_action_time: None }
            });
            Ok(ScheduleListing { entries: entries.collect(), truncated: false })
        })
    }

    async fn update(&self, schedule: &NewSchedule) -> Result<(), ScheduleError> {
        self.on("update", &schedule.id, |kept| {
            kept.0 = schedule.clone();
            Ok(())
        })
    }

    async fn pause(&self, id: &str, _: &str) -> Result<(), ScheduleError> {
        self.on("pause", id, |kept| {
            kept.0.paused = true;
            Ok(())
        })
    }

    async fn resume(&self, id: &str, _: &str) -> Result<(), ScheduleError> {
        self.on("resume", id, |kept| {
            kept.0.paused = false;
            Ok(())
        })
    }

    async fn trigger(&self, id: &str) -> Result<(), ScheduleError> {
        self.on("trigger", id, |_| Ok(()))
    }

    async fn skip(&self, id: &str, at: Timestamp) -> Result<(), ScheduleError> {
        self.on("skip", id, |kept| {
            kept.1.insert(at);
            Ok(())
        })
    }

    async fn unskip(&self, id: &str, at: Timestamp) -> Result<(), ScheduleError> {
        self.on("unskip", id, |kept| if kept.1.remove(&at) { Ok(()) } else { Err(ScheduleError::NotSkipped) })
    }

    async fn delete(&self, id: &str) -> Result<(), ScheduleError> {
        self.call("delete", id, |kept| kept.schedules.remove(id).map(drop).ok_or(ScheduleError::NotFound))
    }

    async fn run_now(&self, _: &RunScheduleId, fire_id: &str) -> Result<(), ScheduleError> {
        self.call("run_now", fire_id, |_| Ok(()))
    }
}
