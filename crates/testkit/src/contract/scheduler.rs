//! What every `Scheduler` must do, apart from firing in time.
//!
//! An adapter runs all of it with [`scheduler_contract!`](crate::scheduler_contract). Every case works on ids of its own, so
//! the backend behind may be shared, and asks the given clock for the time, which may stand still. Listings may lag
//! behind; everything else must be seen at once.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentex_domain::ports::{Clock, NewSchedule, ScheduleDescription, ScheduleError, ScheduleListing, Scheduler};
use agentex_domain::{JsonObject, RunScheduleId, ScheduledAction, Timestamp, Timing, WorkflowAction};
use futures::future::join_all;
use serde_json::{Value, json};

/// How long a listing may take to show what is there.
const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: i64 = 3_600_000;

/// The scheduler under test.
#[derive(Clone)]
pub struct Subject {
    /// The scheduler.
    pub scheduler: Arc<dyn Scheduler>,
    /// What it takes for the time.
    pub clock: Arc<dyn Clock>,
    /// Ids that begin with it belong to this test.
    pub prefix: String,
}

/// Runs the contract against one adapter: one test per case.
///
/// The argument is an expression, evaluated in each test's async block, that gives
/// `(`[`Subject`](crate::contract::scheduler::Subject)`, guard)`; the guard lives as long as the test.
///
/// ```ignore
/// agentex_testkit::scheduler_contract!(fresh().await);
/// ```
#[macro_export]
macro_rules! scheduler_contract {
    ($setup:expr) => {
        $crate::scheduler_contract! { @cases $setup;
            a_new_schedule_is_described_as_it_was_given,
            a_taken_id_is_refused_and_the_schedule_stays_as_it_is,
            intervals_are_counted_from_the_epoch,
            cron_expressions_are_read_in_their_zone,
            an_expression_may_name_its_zone_and_shorthands_are_understood,
            several_timings_are_united,
            the_window_is_inclusive_at_both_ends,
            a_date_that_never_comes_has_no_next_times,
            unusable_timings_are_refused_and_leave_nothing,
            pausing_and_resuming_keep_the_note_and_may_be_repeated,
            a_paused_schedule_can_be_triggered,
            a_skipped_occurrence_is_passed_over_until_it_is_taken_back,
            only_upcoming_occurrences_can_be_skipped,
            only_skipped_occurrences_can_be_taken_back,
            concurrent_skips_all_hold,
            an_update_replaces_everything_but_the_skips,
            an_update_to_another_zone_keeps_the_skips,
            an_unusable_update_changes_nothing,
            everything_about_a_deleted_schedule_is_not_found,
            a_deleted_id_can_be_used_again,
            a_listing_finds_what_begins_with_the_prefix,
            a_listing_finds_only_what_may_be_seen,
            a_listing_ends_at_its_limit,
            running_now_twice_under_one_token_is_one_run,
            the_sweep_is_an_action_like_any_other,
            workflows_are_started_or_refused_as_announced,
        }
    };
    (@cases $setup:expr; $($case:ident),+ $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                let (subject, _guard) = $setup;
                $crate::contract::scheduler::$case(subject).await;
            }
        )+
    };
}

impl Subject {
    fn id(&self, name: &str) -> String {
        format!("{}--{name}", self.prefix)
    }

    fn schedule(&self, name: &str, timing: Timing) -> NewSchedule {
        NewSchedule {
            id: self.id(name),
            timing,
            action: ScheduledAction::Run(RunScheduleId::from(format!("{}-{name}", self.prefix))),
            paused: false,
            definition: None,
        }
    }

    async fn create(&self, name: &str, timing: Timing) -> NewSchedule {
        let schedule = self.schedule(name, timing);
        self.scheduler.create(&schedule).await.unwrap();
        schedule
    }

    async fn describe(&self, name: &str) -> ScheduleDescription {
        self.scheduler.describe(&self.id(name)).await.unwrap()
    }

    async fn exists(&self, name: &str) -> bool {
        match self.scheduler.describe(&self.id(name)).await {
            Ok(_) => true,
            Err(ScheduleError::NotFound) => false,
            Err(error) => panic!("{error:?}"),
        }
    }

    /// Lists until `enough`.
    async fn list(
        &self,
        prefix: &str,
        only: Option<&[String]>,
        limit: u32,
        enough: impl Fn(&ScheduleListing) -> bool,
    ) -> ScheduleListing {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let only = only.map(Arc::from);
            let listing = self.scheduler.list(prefix, only, limit).await.unwrap();
            if enough(&listing) {
                return listing;
            }
            assert!(Instant::now() < deadline, "still {listing:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn hourly() -> Timing {
    Timing { intervals_seconds: vec![3600], ..Timing::default() }
}

fn cron(expression: &str, zone: Option<&str>) -> Timing {
    Timing { cron_expressions: vec![expression.to_owned()], timezone: zone.map(str::to_owned), ..Timing::default() }
}

fn object(value: Value) -> JsonObject {
    let Value::Object(object) = value else { panic!("not an object") };
    object
}

fn whole_hour_after(now: Timestamp) -> Timestamp {
    let millis = now.as_micros() / 1000;
    Timestamp::from_micros((millis / HOUR + 1) * HOUR * 1000).unwrap()
}

async fn not_found<T: std::fmt::Debug>(what: &str, call: impl Future<Output = Result<T, ScheduleError>>) {
    let outcome = call.await;
    assert!(matches!(outcome, Err(ScheduleError::NotFound)), "{what}: {outcome:?}");
}

/// Timing, action, state and definition come back as they were given.
pub async fn a_new_schedule_is_described_as_it_was_given(subject: Subject) {
    let start = whole_hour_after(subject.clock.now());
    let timing = Timing {
        start_at: Some(start),
        end_at: Some(start.plus_millis(1000 * 24 * HOUR)),
        ..cron("30 9 * * 1-5", Some("America/New_York"))
    };
    let schedule = NewSchedule {
        paused: true,
        definition: Some(object(json!({"name": "a", "deep": {"list": [1, null, "ü"]}}))),
        ..subject.schedule("a", timing)
    };

    subject.scheduler.create(&schedule).await.unwrap();

    let found = subject.describe("a").await;
    assert_eq!(found.timing, schedule.timing);
    assert_eq!(found.action, Some(schedule.action));
    assert_eq!(found.definition, schedule.definition);
    assert!(found.paused);
    assert_eq!(found.skipped_action_times, []);
    assert_eq!((found.actions_taken, found.actions_missed, found.last_action_time), (0, 0, None));
    assert_eq!(found.next_action_times.len(), 10);
}

/// Refusing a taken id must not disturb the schedule that was there first.
pub async fn a_taken_id_is_refused_and_the_schedule_stays_as_it_is(subject: Subject) {
    subject.create("a", hourly()).await;
    let before = subject.describe("a").await;

    let refused = subject.scheduler.create(&subject.schedule("a", cron("0 0 * * *", None))).await;

    assert!(matches!(refused, Err(ScheduleError::AlreadyExists)), "{refused:?}");
    assert_eq!(subject.describe("a").await.timing, before.timing);
}

/// An interval of so many seconds comes at the multiples of them since 1970.
pub async fn intervals_are_counted_from_the_epoch(subject: Subject) {
    subject.create("a", Timing { intervals_seconds: vec![5400], ..Timing::default() }).await;

    let next = subject.describe("a").await.next_action_times;

    assert_eq!(next.len(), 10);
    assert!(next[0] > subject.clock.now().plus_millis(-5000), "{next:?}");
    assert!(next.iter().all(|at| at.as_micros() % 5_400_000_000 == 0), "{next:?}");
    assert!(next.windows(2).all(|pair| pair[1] == pair[0].plus_millis(5_400_000)), "{next:?}");
}

/// Nine thirty in Kolkata is four o'clock in UTC.
pub async fn cron_expressions_are_read_in_their_zone(subject: Subject) {
    subject.create("a", cron("30 9 * * *", Some("Asia/Kolkata"))).await;

    let next = subject.describe("a").await.next_action_times;

    assert!(next.iter().all(|at| at.to_string().ends_with("T04:00:00Z")), "{next:?}");
}

/// The forms Temporal documents beyond five fields.
pub async fn an_expression_may_name_its_zone_and_shorthands_are_understood(subject: Subject) {
    for (name, expression, ending) in [
        ("zone", "CRON_TZ=Asia/Kolkata 30 9 * * *", "T04:00:00Z"),
        ("daily", "@daily", "T00:00:00Z"),
        ("seconds", "15 30 9 * * * *", "T09:30:15Z"),
        ("names", "0 12 * jan,jul mon", "T12:00:00Z"),
        ("sunday", "0 12 * * 7", "T12:00:00Z"),
        ("year", "0 12 * * * *", "T12:00:00Z"),
        ("comment", "0 12 * * * # noon", "T12:00:00Z"),
    ] {
        subject.create(name, cron(expression, None)).await;

        let found = subject.describe(name).await;

        assert_eq!(found.timing.cron_expressions, [expression]);
        assert!(!found.next_action_times.is_empty(), "{expression}");
        assert!(found.next_action_times.iter().all(|at| at.to_string().ends_with(ending)), "{expression}: {found:?}");
    }
    subject.create("every", cron("@every 90m", None)).await;
    let next = subject.describe("every").await.next_action_times;
    assert!(next.iter().all(|at| at.as_micros() % 5_400_000_000 == 0), "{next:?}");
}

/// Cron expressions and intervals fire at the union of their times.
///
/// schedules §4: 2
pub async fn several_timings_are_united(subject: Subject) {
    let timing = Timing { intervals_seconds: vec![7200], ..cron("30 * * * *", None) };
    subject.create("a", timing.clone()).await;

    let found = subject.describe("a").await;

    assert_eq!(found.timing, timing);
    let minutes: BTreeSet<i64> = found.next_action_times.iter().map(|at| at.as_micros() / 60_000_000 % 60).collect();
    assert_eq!(minutes, BTreeSet::from([0, 30]));
}

/// The first and the last moment count.
pub async fn the_window_is_inclusive_at_both_ends(subject: Subject) {
    let start = whole_hour_after(subject.clock.now()).plus_millis(5 * HOUR);
    let end = start.plus_millis(2 * HOUR);
    subject.create("a", Timing { start_at: Some(start), end_at: Some(end), ..hourly() }).await;

    let next = subject.describe("a").await.next_action_times;

    assert_eq!(next, [start, start.plus_millis(HOUR), end]);
}

/// It is kept all the same.
pub async fn a_date_that_never_comes_has_no_next_times(subject: Subject) {
    subject.create("a", cron("0 0 30 2 *", None)).await;

    assert_eq!(subject.describe("a").await.next_action_times, []);
}

/// Refused as `Invalid`; there is no schedule afterwards.
pub async fn unusable_timings_are_refused_and_leave_nothing(subject: Subject) {
    let unknown_zone = cron("0 0 * * *", Some("Atlantis/Central"));
    for timing in [cron("not a cron", None), cron("0 0 * *", None), cron("0 99 * * *", None), unknown_zone] {
        let refused = subject.scheduler.create(&subject.schedule("a", timing.clone())).await;

        assert!(matches!(refused, Err(ScheduleError::Invalid(_))), "{timing:?}: {refused:?}");
        assert!(!subject.exists("a").await, "{timing:?}");
    }
}

/// The newest note wins, and pausing what is paused is no error.
pub async fn pausing_and_resuming_keep_the_note_and_may_be_repeated(subject: Subject) {
    let id = subject.create("a", hourly()).await.id;

    for note in ["first", "second"] {
        subject.scheduler.pause(&id, note).await.unwrap();
        let found = subject.describe("a").await;
        assert_eq!((found.paused, found.note.as_deref()), (true, Some(note)));
    }
    for note in ["third", "fourth"] {
        subject.scheduler.resume(&id, note).await.unwrap();
        let found = subject.describe("a").await;
        assert_eq!((found.paused, found.note.as_deref()), (false, Some(note)));
    }
}

/// It stays paused.
pub async fn a_paused_schedule_can_be_triggered(subject: Subject) {
    let schedule = NewSchedule { paused: true, ..subject.schedule("a", hourly()) };
    subject.scheduler.create(&schedule).await.unwrap();

    subject.scheduler.trigger(&schedule.id).await.unwrap();

    assert!(subject.describe("a").await.paused);
}

/// The others stay.
pub async fn a_skipped_occurrence_is_passed_over_until_it_is_taken_back(subject: Subject) {
    let id = subject.create("a", cron("15 * * * *", Some("America/New_York"))).await.id;
    let next = subject.describe("a").await.next_action_times;

    subject.scheduler.skip(&id, next[4]).await.unwrap();
    subject.scheduler.skip(&id, next[2]).await.unwrap();

    let found = subject.describe("a").await;
    assert_eq!(found.skipped_action_times, [next[2], next[4]]);
    assert!(!found.next_action_times.contains(&next[2]) && !found.next_action_times.contains(&next[4]));
    assert!(found.next_action_times.contains(&next[3]) && found.next_action_times.contains(&next[5]));

    subject.scheduler.unskip(&id, next[2]).await.unwrap();

    let found = subject.describe("a").await;
    assert_eq!(found.skipped_action_times, [next[4]]);
    assert!(found.next_action_times.contains(&next[2]));
}

/// Neither the past, nor a moment in between, nor one that is skipped already.
pub async fn only_upcoming_occurrences_can_be_skipped(subject: Subject) {
    let id = subject.create("a", hourly()).await.id;
    let next = subject.describe("a").await.next_action_times;
    let scheduler = &subject.scheduler;

    let past = scheduler.skip(&id, next[0].plus_millis(-2 * HOUR)).await;
    assert!(matches!(past, Err(ScheduleError::Past)), "{past:?}");
    let between = scheduler.skip(&id, next[3].plus_millis(1000)).await;
    assert!(matches!(between, Err(ScheduleError::NotUpcoming)), "{between:?}");
    scheduler.skip(&id, next[3]).await.unwrap();
    let again = scheduler.skip(&id, next[3]).await;
    assert!(matches!(again, Err(ScheduleError::NotUpcoming)), "{again:?}");

    assert_eq!(subject.describe("a").await.skipped_action_times, [next[3]]);
}

/// Neither the past nor a moment that is not skipped.
pub async fn only_skipped_occurrences_can_be_taken_back(subject: Subject) {
    let id = subject.create("a", hourly()).await.id;
    let next = subject.describe("a").await.next_action_times;
    subject.scheduler.skip(&id, next[3]).await.unwrap();

    let past = subject.scheduler.unskip(&id, next[0].plus_millis(-2 * HOUR)).await;
    assert!(matches!(past, Err(ScheduleError::Past)), "{past:?}");
    let other = subject.scheduler.unskip(&id, next[4]).await;
    assert!(matches!(other, Err(ScheduleError::NotSkipped)), "{other:?}");

    assert_eq!(subject.describe("a").await.skipped_action_times, [next[3]]);
}

/// No change is lost to another one at the same time.
pub async fn concurrent_skips_all_hold(subject: Subject) {
    let id = subject.create("a", hourly()).await.id;
    let next = subject.describe("a").await.next_action_times;

    let skips = next[2..6].iter().map(|at| subject.scheduler.skip(&id, *at));
    for outcome in join_all(skips).await {
        outcome.unwrap();
    }

    assert_eq!(subject.describe("a").await.skipped_action_times, next[2..6]);
}

/// Timing, action, paused state and definition are the new ones.
///
/// schedules §4: 28
pub async fn an_update_replaces_everything_but_the_skips(subject: Subject) {
    let schedule = subject.create("a", cron("0 * * * *", None)).await;
    let next = subject.describe("a").await.next_action_times;
    subject.scheduler.skip(&schedule.id, next[3]).await.unwrap();
    subject.scheduler.pause(&schedule.id, "kept").await.unwrap();

    let update = NewSchedule {
        timing: cron("*/30 * * * *", None),
        action: ScheduledAction::Run(RunScheduleId::from("another")),
        paused: true,
        definition: Some(object(json!({"description": "new"}))),
        ..schedule
    };
    subject.scheduler.update(&update).await.unwrap();

    let found = subject.describe("a").await;
    assert_eq!(found.timing, update.timing);
    assert_eq!(found.action, Some(update.action));
    assert_eq!(found.definition, update.definition);
    assert_eq!((found.paused, found.note.as_deref()), (true, Some("kept")));
    assert_eq!(found.skipped_action_times, [next[3]]);
    assert!(!found.next_action_times.contains(&next[3]));
    assert!(found.next_action_times.contains(&next[3].plus_millis(-HOUR / 2)), "{found:?}");
}

/// A skip is a moment, whatever the clocks on the wall say.
pub async fn an_update_to_another_zone_keeps_the_skips(subject: Subject) {
    let schedule = subject.create("a", cron("0 * * * *", Some("America/New_York"))).await;
    let next = subject.describe("a").await.next_action_times;
    subject.scheduler.skip(&schedule.id, next[3]).await.unwrap();

    let timing = cron("0 * * * *", Some("Europe/Berlin"));
    subject.scheduler.update(&NewSchedule { timing, ..schedule }).await.unwrap();

    let found = subject.describe("a").await;
    assert_eq!(found.skipped_action_times, [next[3]]);
    assert!(!found.next_action_times.contains(&next[3]) && found.next_action_times.contains(&next[4]));
}

/// It is refused as a whole.
pub async fn an_unusable_update_changes_nothing(subject: Subject) {
    let schedule = subject.create("a", hourly()).await;

    let update = NewSchedule { timing: cron("not a cron", None), paused: true, ..schedule.clone() };
    let refused = subject.scheduler.update(&update).await;

    assert!(matches!(refused, Err(ScheduleError::Invalid(_))), "{refused:?}");
    let found = subject.describe("a").await;
    assert_eq!((found.timing, found.paused), (schedule.timing, false));
}

/// Right after the deletion, too, and for an id that never was.
pub async fn everything_about_a_deleted_schedule_is_not_found(subject: Subject) {
    let schedule = subject.create("a", hourly()).await;
    let at = subject.describe("a").await.next_action_times[3];
    let scheduler = &subject.scheduler;
    scheduler.delete(&schedule.id).await.unwrap();

    for id in [schedule.id.as_str(), &subject.id("never")] {
        not_found("describe", scheduler.describe(id)).await;
        not_found("update", scheduler.update(&NewSchedule { id: id.to_owned(), ..schedule.clone() })).await;
        not_found("pause", scheduler.pause(id, "note")).await;
        not_found("resume", scheduler.resume(id, "note")).await;
        not_found("trigger", scheduler.trigger(id)).await;
        not_found("skip", scheduler.skip(id, at)).await;
        not_found("unskip", scheduler.unskip(id, at)).await;
        not_found("delete", scheduler.delete(id)).await;
    }
}

/// Nothing of the former schedule is left.
pub async fn a_deleted_id_can_be_used_again(subject: Subject) {
    let schedule = subject.create("a", hourly()).await;
    let next = subject.describe("a").await.next_action_times;
    subject.scheduler.skip(&schedule.id, next[3]).await.unwrap();
    subject.scheduler.delete(&schedule.id).await.unwrap();

    subject.create("a", hourly()).await;

    let found = subject.describe("a").await;
    assert_eq!(found.skipped_action_times, []);
    assert!(found.next_action_times.contains(&next[3]));
}

/// And says what state it is in.
pub async fn a_listing_finds_what_begins_with_the_prefix(subject: Subject) {
    let id = subject.create("one", hourly()).await.id;
    subject.create("two", hourly()).await;
    subject.scheduler.pause(&id, "note").await.unwrap();
    let stranger = NewSchedule { id: format!("{}x--three", subject.prefix), ..subject.schedule("three", hourly()) };
    subject.scheduler.create(&stranger).await.unwrap();

    let prefix = format!("{}--", subject.prefix);
    let complete = |listing: &ScheduleListing| {
        listing.entries.len() == 2 && listing.entries.iter().all(|one| one.paused == (one.id == id))
    };
    let listing = subject.list(&prefix, None, 100, complete).await;

    assert!(!listing.truncated);
    let ids: BTreeSet<&str> = listing.entries.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(ids, BTreeSet::from([id.as_str(), &subject.id("two")]));
    assert!(listing.entries.iter().all(|one| one.next_action_time.is_some()), "{listing:?}");
    let nothing = subject.scheduler.list(&format!("{}-none--", subject.prefix), None, 100).await.unwrap();
    assert_eq!(nothing, ScheduleListing::default());
}

/// What is not named is as if it were not there; naming nothing finds nothing.
pub async fn a_listing_finds_only_what_may_be_seen(subject: Subject) {
    let one = subject.create("one", hourly()).await.id;
    subject.create("two", hourly()).await;
    let prefix = format!("{}--", subject.prefix);
    subject.list(&prefix, None, 100, |listing| listing.entries.len() == 2).await;

    let only = [one.clone(), "another--one".to_owned()];
    let listing = subject.list(&prefix, Some(&only), 100, |listing| !listing.entries.is_empty()).await;

    assert_eq!(listing.entries.iter().map(|entry| &entry.id).collect::<Vec<_>>(), [&one]);
    let nothing = subject.scheduler.list(&prefix, Some(Arc::from([])), 100).await.unwrap();
    assert_eq!(nothing, ScheduleListing::default());
}

/// What may not be seen does not count towards it.
pub async fn a_listing_ends_at_its_limit(subject: Subject) {
    let mut ids = Vec::new();
    for name in ["a", "b", "c", "d", "e"] {
        ids.push(subject.create(name, hourly()).await.id);
    }
    let prefix = format!("{}--", subject.prefix);
    subject.list(&prefix, None, 100, |listing| listing.entries.len() == 5).await;

    let two = subject.scheduler.list(&prefix, None, 2).await.unwrap();
    let last = subject.scheduler.list(&prefix, Some(Arc::from(&ids[3..])), 2).await.unwrap();

    assert_eq!(two.entries.len(), 2);
    let found: BTreeSet<&String> = last.entries.iter().map(|entry| &entry.id).collect();
    assert_eq!(found, ids[3..].iter().collect());
}

/// Whether the schedule is paused does not matter.
pub async fn running_now_twice_under_one_token_is_one_run(subject: Subject) {
    let row = RunScheduleId::generate();
    let schedule = NewSchedule {
        id: format!("agent-run-schedule:{row}"),
        action: ScheduledAction::Run(row.clone()),
        paused: true,
        ..subject.schedule("a", hourly())
    };
    subject.scheduler.create(&schedule).await.unwrap();
    let token = format!("agent-run-schedule:{row}-manual-{}", subject.prefix);

    subject.scheduler.run_now(&row, &token).await.unwrap();
    subject.scheduler.run_now(&row, &token).await.unwrap();

    let found = subject.scheduler.describe(&schedule.id).await.unwrap();
    assert_eq!((found.paused, found.actions_taken), (true, 0));
    subject.scheduler.delete(&schedule.id).await.unwrap();
}

/// It comes back as it was given.
pub async fn the_sweep_is_an_action_like_any_other(subject: Subject) {
    let schedule = NewSchedule { action: ScheduledAction::RetentionSweep, ..subject.schedule("a", hourly()) };

    subject.scheduler.create(&schedule).await.unwrap();

    assert_eq!(subject.describe("a").await.action, Some(ScheduledAction::RetentionSweep));
}

/// A scheduler that does not start workflows keeps no schedule of one.
pub async fn workflows_are_started_or_refused_as_announced(subject: Subject) {
    let action = ScheduledAction::Workflow(WorkflowAction {
        workflow_name: "Report".to_owned(),
        workflow_id: format!("{}-run", subject.id("a")),
        task_queue: format!("{}-queue", subject.prefix),
        params: Some(object(json!({"city": "Bern"}))),
        execution_timeout_seconds: Some(90),
    });
    let schedule = NewSchedule { action: action.clone(), ..subject.schedule("a", hourly()) };

    let outcome = subject.scheduler.create(&schedule).await;

    if subject.scheduler.starts_workflows() {
        outcome.unwrap();
        assert_eq!(subject.describe("a").await.action, Some(action));
        let prefix = format!("{}--", subject.prefix);
        let listing = subject.list(&prefix, None, 10, |listing| !listing.entries.is_empty()).await;
        assert_eq!(listing.entries[0].workflow_name.as_deref(), Some("Report"));
    } else {
        assert!(matches!(outcome, Err(ScheduleError::Unavailable(_))), "{outcome:?}");
        assert!(!subject.exists("a").await);
    }
}
