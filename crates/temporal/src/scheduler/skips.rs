//! Single occurrences passed over: exclusion calendars that match one second of one day.
//!
//! Other exclusion calendars are somebody else's; they stay as they are and are never reported.

use agentex_domain::Timestamp;
use chrono::{DateTime, Datelike, NaiveDate, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use temporalio_common::protos::temporal::api::schedule::v1::{Range, ScheduleSpec, StructuredCalendarSpec};

use super::definition::zone_of;

/// Passes over the occurrence at `at`.
pub(super) fn add(spec: &mut ScheduleSpec, at: Timestamp, now: Timestamp) {
    let zone = zone_of(&spec.timezone_name);
    retain(spec, zone, |skip| skip.last().is_some_and(|last| *last > now) && !skip.contains(&at));
    spec.exclude_structured_calendar.push(calendar(at, zone));
}

/// Lets the occurrence at `at` happen again; whether it was passed over.
pub(super) fn remove(spec: &mut ScheduleSpec, at: Timestamp, now: Timestamp) -> bool {
    let zone = zone_of(&spec.timezone_name);
    let found = upcoming(spec, now).contains(&at);
    retain(spec, zone, |skip| skip.last().is_some_and(|last| *last > now) && !skip.contains(&at));
    found
}

/// The occurrences passed over that are still to come, soonest first.
pub(super) fn upcoming(spec: &ScheduleSpec, now: Timestamp) -> Vec<Timestamp> {
    let zone = zone_of(&spec.timezone_name);
    let skips = spec.exclude_structured_calendar.iter().filter_map(|calendar| moments(calendar, zone));
    let mut upcoming: Vec<Timestamp> = skips.flatten().filter(|at| *at > now).collect();
    upcoming.sort_unstable();
    upcoming.dedup();
    upcoming
}

/// Takes over what `from` leaves out into `to`, whose calendars are read in `zone`.
pub(super) fn carry_over(from: &ScheduleSpec, to: &mut ScheduleSpec, zone: Tz, now: Timestamp) {
    let before = zone_of(&from.timezone_name);
    let others = from.exclude_structured_calendar.iter().filter(|calendar| moments(calendar, before).is_none());
    to.exclude_structured_calendar = others.cloned().collect();
    for at in upcoming(from, now) {
        let mut kept = to.exclude_structured_calendar.iter().filter_map(|calendar| moments(calendar, zone));
        if !kept.any(|skip| skip.contains(&at)) {
            to.exclude_structured_calendar.push(calendar(at, zone));
        }
    }
}

fn retain(spec: &mut ScheduleSpec, zone: Tz, keep: impl Fn(&[Timestamp]) -> bool) {
    spec.exclude_structured_calendar.retain(|calendar| moments(calendar, zone).is_none_or(|skip| keep(&skip)));
}

fn calendar(at: Timestamp, zone: Tz) -> StructuredCalendarSpec {
    let local = at.as_datetime().with_timezone(&zone);
    StructuredCalendarSpec {
        second: single(local.second()),
        minute: single(local.minute()),
        hour: single(local.hour()),
        day_of_month: single(local.day()),
        month: single(local.month()),
        year: vec![Range { start: local.year(), end: local.year(), step: 1 }],
        day_of_week: vec![Range { start: 0, end: 6, step: 1 }],
        comment: format!("Skipped via API at {at}"),
    }
}

fn single(value: u32) -> Vec<Range> {
    let value = i32::try_from(value).expect("parts of a date are small");
    vec![Range { start: value, end: value, step: 1 }]
}

/// The moments a calendar of single values means, soonest first: two where the local hour comes twice, none where it does
/// not come. `None`: it is not such a calendar.
fn moments(calendar: &StructuredCalendarSpec, zone: Tz) -> Option<Vec<Timestamp>> {
    let value = |ranges: &[Range]| match ranges {
        [range] if range.end <= range.start => Some(range.start),
        _ => None,
    };
    let part = |ranges: &[Range]| value(ranges).and_then(|value| u32::try_from(value).ok());
    let (hour, minute, second) = (part(&calendar.hour)?, part(&calendar.minute)?, part(&calendar.second)?);
    let (year, month, day) = (value(&calendar.year)?, part(&calendar.month)?, part(&calendar.day_of_month)?);
    let local = NaiveDate::from_ymd_opt(year, month, day)?.and_hms_opt(hour, minute, second)?;
    let found = zone.from_local_datetime(&local);
    let found = [found.earliest(), found.latest()].into_iter().flatten();
    let mut moments: Vec<Timestamp> = found.map(|at: DateTime<Tz>| Timestamp::new(at.with_timezone(&Utc))).collect();
    moments.dedup();
    Some(moments)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    fn spec(zone: &str) -> ScheduleSpec {
        ScheduleSpec { timezone_name: zone.to_owned(), ..ScheduleSpec::default() }
    }

    const NOW: &str = "2026-06-01T00:00:00Z";

    #[test]
    fn a_skip_is_written_in_the_local_time_of_the_schedule() {
        let mut spec = spec("America/New_York");

        add(&mut spec, at("2026-07-01T02:30:05Z"), at(NOW));

        let calendar = &spec.exclude_structured_calendar[0];
        let starts = [&calendar.year, &calendar.month, &calendar.day_of_month, &calendar.hour, &calendar.minute];
        assert_eq!(starts.map(|ranges| ranges[0].start), [2026, 6, 30, 22, 30]);
        assert_eq!(calendar.comment, "Skipped via API at 2026-07-01T02:30:05Z");
        assert_eq!(upcoming(&spec, at(NOW)), [at("2026-07-01T02:30:05Z")]);
    }

    #[test]
    fn expired_skips_go_and_broader_exclusions_stay() {
        let mut spec = spec("");
        let broad = StructuredCalendarSpec { month: single(12), ..calendar(at("2026-12-24T00:00:00Z"), Tz::UTC) };
        let broad = StructuredCalendarSpec { year: Vec::new(), ..broad };
        spec.exclude_structured_calendar = vec![broad.clone(), calendar(at("2026-05-01T00:00:00Z"), Tz::UTC)];

        add(&mut spec, at("2026-07-01T00:00:00Z"), at(NOW));

        assert_eq!(spec.exclude_structured_calendar.len(), 2);
        assert_eq!(spec.exclude_structured_calendar[0], broad);
        assert_eq!(upcoming(&spec, at(NOW)), [at("2026-07-01T00:00:00Z")]);
    }

    #[test]
    fn only_what_is_skipped_can_be_taken_back() {
        let mut spec = spec("");
        add(&mut spec, at("2026-07-01T00:00:00Z"), at(NOW));

        assert!(!remove(&mut spec, at("2026-07-02T00:00:00Z"), at(NOW)));
        assert!(remove(&mut spec, at("2026-07-01T00:00:00Z"), at(NOW)));
        assert_eq!(spec.exclude_structured_calendar, []);
    }

    #[test]
    fn skips_move_to_another_zone_as_the_same_moments() {
        let mut from = spec("America/New_York");
        add(&mut from, at("2026-07-01T02:30:00Z"), at(NOW));
        let mut to = spec("Asia/Kolkata");

        carry_over(&from, &mut to, Tz::Asia__Kolkata, at(NOW));

        assert_eq!(upcoming(&to, at(NOW)), [at("2026-07-01T02:30:00Z")]);
    }

    #[test]
    fn a_repeated_local_hour_is_two_moments() {
        let mut spec = spec("America/New_York");

        add(&mut spec, at("2026-11-01T05:30:00Z"), at(NOW));

        assert_eq!(upcoming(&spec, at(NOW)), [at("2026-11-01T05:30:00Z"), at("2026-11-01T06:30:00Z")]);
    }
}
