use std::time::Duration;

use crate::cadence::still_to_come;
use crate::ids::uuid_v4;
use crate::{JsonObject, RunScheduleId, RunTrigger, Timestamp, Timing};

/// How many occurrences of one timer are counted, or caught up, one by one.
const MOST_AT_ONCE: usize = 1_000;

/// A schedule as a scheduler without an engine of its own keeps it.
#[derive(Debug, Clone, PartialEq)]
pub struct Timer {
    /// Chosen by whoever made it.
    pub id: String,
    /// When it fires.
    pub timing: Timing,
    /// What it does then.
    pub action: TimerAction,
    /// Whether its occurrences are passed over.
    pub paused: bool,
    /// Why it was paused or resumed last.
    pub note: Option<String>,
    /// Kept for whoever made it.
    pub definition: Option<JsonObject>,
    /// Single occurrences to come that are passed over, soonest first.
    pub skipped: Vec<Timestamp>,
    /// The next occurrence; `None` while it is paused, and when there is none.
    pub next_at: Option<Timestamp>,
    /// How often it has fired.
    pub actions_taken: u64,
    /// Occurrences that were due and did not fire. Of those in a very long time only the first thousand are counted.
    pub missed: u64,
    /// When it last fired.
    pub last_action_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Counts changes, beginning with 1.
    pub version: i64,
}

/// What a timer does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum TimerAction {
    /// A run of a [`RunSchedule`](crate::RunSchedule).
    Run(RunScheduleId),
    /// The sweep over idle tasks.
    RetentionSweep,
}

/// One time that a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fire {
    /// Names the occurrence; the same occurrence always has the same.
    pub id: String,
    /// Its timer; `None` for a run that somebody asked for, whatever the timer does.
    pub timer_id: Option<String>,
    /// What is done.
    pub action: TimerAction,
    /// Why.
    pub trigger: RunTrigger,
    /// The moment it stands for.
    pub nominal_at: Timestamp,
}

impl Fire {
    /// A new id for a fire of `schedule` that somebody asks for at `now`.
    #[must_use]
    pub fn manual_id(schedule: &str, now: Timestamp) -> String {
        format!("{schedule}-manual-{}-{now}", uuid_v4())
    }
}

/// A fire that its holder is to carry out before the lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimedFire {
    /// What to do.
    pub fire: Fire,
    /// How often it has been begun, beginning with 1.
    pub attempt: u32,
    /// Tells this holder from earlier and later ones.
    pub fence: i64,
}

/// What becomes of occurrences that were due while nobody was there to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Misfire {
    /// Which of them fire.
    pub policy: MisfirePolicy,
    /// What is not later than this is on time, whatever the policy.
    pub grace: Duration,
    /// What is later than this never fires.
    pub window: Duration,
}

/// Which late occurrences fire.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MisfirePolicy {
    /// None.
    Skip,
    /// The newest inside the window stands for all.
    #[default]
    FireOnce,
    /// All inside the window, at the same time.
    CatchUp,
}

impl Default for Misfire {
    /// Once, when it is not more than a day late; a minute is on time.
    fn default() -> Self {
        let (grace, window) = (Duration::from_secs(60), Duration::from_secs(24 * 3_600));
        Self { policy: MisfirePolicy::default(), grace, window }
    }
}

impl Timer {
    /// Sets the next occurrence to the first one after `now`.
    pub fn look_ahead(&mut self, now: Timestamp) {
        self.skipped = still_to_come(&self.skipped, now);
        self.next_at = if self.paused { None } else { self.timing.next_after(now, &self.skipped) };
    }

    /// Passes over the occurrence at `at`, or no longer does. An occurrence that is due already stays due.
    pub fn set_skipped(&mut self, at: Timestamp, skip: bool, now: Timestamp) {
        self.skipped.retain(|skipped| *skipped != at);
        if skip {
            self.skipped.push(at);
        }
        if self.next_at.is_some_and(|next| next <= now) {
            self.skipped = still_to_come(&self.skipped, now);
        } else {
            self.look_ahead(now);
        }
    }

    /// Takes the occurrences that are due at `now`, oldest first, and goes on to the one after them. When the fire before is
    /// still `running`, they are passed over. Nothing is changed when nothing is due.
    pub fn come_due(&mut self, now: Timestamp, running: bool, misfire: &Misfire) -> Vec<Fire> {
        let Some(first) = self.next_at.filter(|next| *next <= now) else { return Vec::new() };
        let Ok(occurrences) = self.timing.occurrences() else {
            self.next_at = None;
            return Vec::new();
        };

        let mut due = vec![first];
        let mut next = occurrences.next_after(first, &self.skipped);
        while let Some(also) = next.filter(|next| *next <= now)
            && due.len() < MOST_AT_ONCE
        {
            due.push(also);
            next = occurrences.next_after(also, &self.skipped);
        }
        if let Some(uncounted) = next.filter(|next| *next <= now) {
            let last = occurrences.last_until(now, uncounted, &self.skipped).unwrap_or(uncounted);
            due.push(last);
            next = occurrences.next_after(last, &self.skipped);
        }

        let not_older_than = |age: Duration| {
            let micros = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
            let oldest = now.as_micros().saturating_sub(micros);
            move |at: &Timestamp| at.as_micros() >= oldest
        };
        let newest = due.last().copied();
        let fires: Vec<Timestamp> = match misfire.policy {
            _ if running => Vec::new(),
            MisfirePolicy::Skip => newest.filter(not_older_than(misfire.grace)).into_iter().collect(),
            MisfirePolicy::FireOnce => {
                newest.filter(not_older_than(misfire.window.max(misfire.grace))).into_iter().collect()
            }
            MisfirePolicy::CatchUp => {
                due.iter().copied().filter(not_older_than(misfire.window.max(misfire.grace))).collect()
            }
        };
        self.missed += (due.len() - fires.len()) as u64;
        self.actions_taken += fires.len() as u64;
        if !fires.is_empty() {
            self.last_action_at = Some(now);
        }
        self.next_at = next;
        self.skipped = still_to_come(&self.skipped, now);
        fires.into_iter().map(|nominal_at| self.fire_at(nominal_at)).collect()
    }

    fn fire_at(&self, nominal_at: Timestamp) -> Fire {
        Fire {
            id: format!("{}-run-{nominal_at}", self.id),
            timer_id: Some(self.id.clone()),
            action: self.action.clone(),
            trigger: RunTrigger::Scheduled,
            nominal_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn every(seconds: u32, next_at: &str) -> Timer {
        Timer {
            id: "agent-run-schedule:r".into(),
            timing: Timing { intervals_seconds: vec![seconds], ..Timing::default() },
            action: TimerAction::Run("r".into()),
            paused: false,
            note: None,
            definition: None,
            skipped: Vec::new(),
            next_at: Some(at(next_at)),
            actions_taken: 0,
            missed: 0,
            last_action_at: None,
            created_at: at("2026-01-01"),
            version: 1,
        }
    }

    fn misfire(policy: MisfirePolicy) -> Misfire {
        Misfire { policy, grace: Duration::from_secs(60), window: Duration::from_secs(3_600) }
    }

    fn nominal(fires: &[Fire]) -> Vec<String> {
        fires.iter().map(|fire| fire.nominal_at.to_string()).collect()
    }

    #[test]
    fn an_occurrence_on_time_fires_under_an_id_of_its_own() {
        for policy in [MisfirePolicy::Skip, MisfirePolicy::FireOnce, MisfirePolicy::CatchUp] {
            let mut timer = every(600, "2026-01-01T10:00:00Z");
            assert_eq!(timer.come_due(at("2026-01-01T09:59:59.999999Z"), false, &misfire(policy)), []);

            let fires = timer.come_due(at("2026-01-01T10:00:00.01Z"), false, &misfire(policy));

            assert_eq!(fires[0].id, "agent-run-schedule:r-run-2026-01-01T10:00:00Z");
            assert_eq!((fires.len(), timer.actions_taken, timer.missed), (1, 1, 0));
            assert_eq!(timer.next_at, Some(at("2026-01-01T10:10:00Z")));
            assert_eq!(timer.last_action_at, Some(at("2026-01-01T10:00:00.01Z")));
        }
    }

    #[test]
    fn late_occurrences_fire_as_the_policy_says() {
        let now = "2026-01-01T10:25:00Z";
        for (policy, fired) in [
            (MisfirePolicy::Skip, &[][..]),
            (MisfirePolicy::FireOnce, &["2026-01-01T10:20:00Z"][..]),
            (MisfirePolicy::CatchUp, &["2026-01-01T10:00:00Z", "2026-01-01T10:10:00Z", "2026-01-01T10:20:00Z"][..]),
        ] {
            let mut timer = every(600, "2026-01-01T10:00:00Z");

            let fires = timer.come_due(at(now), false, &misfire(policy));

            assert_eq!(nominal(&fires), fired, "{policy:?}");
            assert_eq!(timer.missed + timer.actions_taken, 3);
            assert_eq!(timer.actions_taken as usize, fired.len());
            assert_eq!(timer.next_at, Some(at("2026-01-01T10:30:00Z")));
        }
    }

    #[test]
    fn what_is_later_than_the_window_never_fires() {
        for (policy, fired) in [(MisfirePolicy::FireOnce, 0), (MisfirePolicy::CatchUp, 0)] {
            let mut timer = every(86_400, "2026-01-01T00:00:00Z");

            let fires = timer.come_due(at("2026-01-02T02:00:00Z"), false, &misfire(policy));

            assert_eq!((fires.len(), timer.missed), (fired, 2));
            assert_eq!(timer.next_at, Some(at("2026-01-03T00:00:00Z")));
        }
    }

    #[test]
    fn an_occurrence_that_meets_a_running_fire_is_passed_over() {
        let mut timer = every(600, "2026-01-01T10:00:00Z");

        let fires = timer.come_due(at("2026-01-01T10:00:00Z"), true, &Misfire::default());

        assert_eq!((fires, timer.missed, timer.actions_taken), (vec![], 1, 0));
        assert_eq!(timer.next_at, Some(at("2026-01-01T10:10:00Z")));
    }

    #[test]
    fn a_very_long_silence_is_gone_over_quickly() {
        let mut timer = every(1, "2000-01-01T00:00:00Z");

        let fires = timer.come_due(at("2026-01-01T10:00:00.5Z"), false, &Misfire::default());

        assert_eq!(nominal(&fires), ["2026-01-01T10:00:00Z"]);
        assert_eq!(timer.next_at, Some(at("2026-01-01T10:00:01Z")));
        assert_eq!(timer.missed, MOST_AT_ONCE as u64);
    }

    #[test]
    fn a_skipped_occurrence_neither_fires_nor_counts() {
        let mut timer = every(600, "2026-01-01T10:00:00Z");
        timer.skipped = vec![at("2026-01-01T10:10:00Z"), at("2026-01-01T11:00:00Z")];

        let first = timer.come_due(at("2026-01-01T10:00:00Z"), false, &Misfire::default());
        assert_eq!((first.len(), timer.next_at), (1, Some(at("2026-01-01T10:20:00Z"))));
        timer.come_due(at("2026-01-01T10:20:00Z"), false, &Misfire::default());

        assert_eq!(timer.skipped, [at("2026-01-01T11:00:00Z")]);
        assert_eq!((timer.actions_taken, timer.missed), (2, 0));
    }

    #[test]
    fn a_paused_timer_has_no_next_occurrence() {
        let mut timer = every(600, "2026-01-01T10:00:00Z");
        timer.paused = true;

        timer.look_ahead(at("2026-01-01T09:00:00Z"));
        assert_eq!(timer.next_at, None);
        timer.paused = false;
        timer.look_ahead(at("2026-01-01T10:00:00Z"));

        assert_eq!(timer.next_at, Some(at("2026-01-01T10:10:00Z")));
    }
}
