use chrono::{Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, Timelike};

/// First year in which anything occurs.
const FIRST_YEAR: u32 = 2000;
/// Last year in which anything occurs.
const LAST_YEAR: u32 = 2100;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEKDAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// What a cron expression says, and the zone it names itself.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expression<'a> {
    pub(super) zone: Option<&'a str>,
    pub(super) rule: Rule,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rule {
    Calendar(Calendar),
    /// Every so many seconds from the Unix epoch, and so many after that.
    Every {
        seconds: u32,
        phase: u32,
    },
}

/// Local times of which every field is among those listed. Bit n stands for the value n.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Calendar {
    seconds: u64,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    /// Bit 0 is Sunday.
    weekdays: u64,
    /// Bit 0 is [`FIRST_YEAR`].
    years: u128,
}

impl<'a> Expression<'a> {
    /// Reads an expression; `None` when it is not one.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (zone, text) = split_zone(text.trim())?;
        let text = without_comment(text)?.trim();
        let rule = match text.strip_prefix("@every") {
            Some(interval) => parse_every(interval)?,
            None => Rule::Calendar(Calendar::parse(predefined(text))?),
        };
        Some(Self { zone, rule })
    }
}

/// The zone in front, if there is one, and the rest. `None` when there is nothing but a zone.
pub(super) fn split_zone(text: &str) -> Option<(Option<&str>, &str)> {
    match text.strip_prefix("CRON_TZ=").or_else(|| text.strip_prefix("TZ=")) {
        Some(named) => named.split_once(char::is_whitespace).map(|(zone, rest)| (Some(zone), rest)),
        None => Some((None, text)),
    }
}

/// The text before a comment. A `#` inside a field means something elsewhere and nothing here, so it is not one.
fn without_comment(text: &str) -> Option<&str> {
    match text.split_once('#') {
        Some((before, _comment)) => before.ends_with(char::is_whitespace).then_some(before),
        None => Some(text),
    }
}

fn predefined(text: &str) -> &str {
    match text {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        other => other,
    }
}

/// Reads ` 90m` or ` 14h/3h`.
fn parse_every(text: &str) -> Option<Rule> {
    if !text.starts_with(char::is_whitespace) {
        return None;
    }
    let (interval, phase) = match text.trim().split_once('/') {
        Some((interval, phase)) => (interval, parse_duration(phase)?),
        None => (text.trim(), 0),
    };
    let seconds = parse_duration(interval)?;
    (seconds >= 1 && phase < seconds).then_some(Rule::Every { seconds, phase })
}

/// Whole seconds of `1h30m`, `90s` or `1d`, at most [`i32::MAX`].
fn parse_duration(text: &str) -> Option<u32> {
    let mut total: u64 = 0;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = match rest.as_bytes()[digits] {
            b's' => 1,
            b'm' => 60,
            b'h' => 3_600,
            b'd' => 86_400,
            _ => return None,
        };
        total = total.checked_add(number.checked_mul(unit)?)?;
        rest = &rest[digits + 1..];
    }
    (!text.is_empty() && total <= i32::MAX.unsigned_abs().into()).then_some(u32::try_from(total).ok()?)
}

impl Calendar {
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split_whitespace().collect();
        let (second, minute, hour, day, month, weekday, year) = match *fields.as_slice() {
            [minute, hour, day, month, weekday] => ("0", minute, hour, day, month, weekday, "*"),
            [minute, hour, day, month, weekday, year] => ("0", minute, hour, day, month, weekday, year),
            [second, minute, hour, day, month, weekday, year] => (second, minute, hour, day, month, weekday, year),
            _ => return None,
        };
        // 7 is Sunday, too.
        let weekdays = bits(weekday, 0, 7, Names::Weekdays)?;
        Some(Self {
            seconds: bits(second, 0, 59, Names::None)?,
            minutes: bits(minute, 0, 59, Names::None)?,
            hours: bits(hour, 0, 23, Names::None)?,
            days: bits(day, 1, 31, Names::None)?,
            months: bits(month, 1, 12, Names::Months)?,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            years: values(year, FIRST_YEAR, LAST_YEAR, Names::None)?
                .into_iter()
                .fold(0, |years, year| years | 1 << (year - FIRST_YEAR)),
        })
    }

    /// The first local time after `after` that matches.
    pub(super) fn next_after(&self, after: NaiveDateTime) -> Option<NaiveDateTime> {
        let from = after.with_nanosecond(0)?.checked_add_signed(chrono::Duration::seconds(1))?;
        let mut date = from.date();
        if self.has_day(date)
            && let Some(time) = self.next_time(from.time())
        {
            return Some(date.and_time(time));
        }
        loop {
            date = self.next_day(date)?;
            if let Some(time) = self.next_time(NaiveTime::MIN) {
                return Some(date.and_time(time));
            }
        }
    }

    fn has_day(&self, date: NaiveDate) -> bool {
        self.has_year(date.year())
            && has(self.months, date.month())
            && has(self.days, date.day())
            && has(self.weekdays, date.weekday().num_days_from_sunday())
    }

    fn has_year(&self, year: i32) -> bool {
        u32::try_from(year)
            .is_ok_and(|year| (FIRST_YEAR..=LAST_YEAR).contains(&year) && self.years >> (year - FIRST_YEAR) & 1 == 1)
    }

    /// The first matching day after `date`; passes over whole years and months that do not match.
    fn next_day(&self, date: NaiveDate) -> Option<NaiveDate> {
        let mut date = date.checked_add_days(Days::new(1))?;
        loop {
            if date.year() > LAST_YEAR as i32 {
                return None;
            }
            if !self.has_year(date.year()) {
                let year = (date.year() + 1).max(FIRST_YEAR as i32);
                date = NaiveDate::from_ymd_opt(year, 1, 1)?;
            } else if !has(self.months, date.month()) {
                date = date.with_day(1)?.checked_add_months(chrono::Months::new(1))?;
            } else if !self.has_day(date) {
                date = date.checked_add_days(Days::new(1))?;
            } else {
                return Some(date);
            }
        }
    }

    /// The first matching time of day that is not before `from`.
    fn next_time(&self, from: NaiveTime) -> Option<NaiveTime> {
        let (mut minute_from, mut second_from) = (from.minute(), from.second());
        for hour in (from.hour()..24).filter(|hour| has(self.hours, *hour)) {
            if hour != from.hour() {
                (minute_from, second_from) = (0, 0);
            }
            for minute in (minute_from..60).filter(|minute| has(self.minutes, *minute)) {
                if minute != minute_from {
                    second_from = 0;
                }
                if let Some(second) = (second_from..60).find(|second| has(self.seconds, *second)) {
                    return NaiveTime::from_hms_opt(hour, minute, second);
                }
                second_from = 0;
            }
            (minute_from, second_from) = (0, 0);
        }
        None
    }
}

fn has(bits: u64, value: u32) -> bool {
    bits >> value & 1 == 1
}

#[derive(Clone, Copy)]
enum Names {
    None,
    Months,
    Weekdays,
}

fn bits(field: &str, min: u32, max: u32, names: Names) -> Option<u64> {
    Some(values(field, min, max, names)?.into_iter().fold(0, |bits, value| bits | 1 << value))
}

/// Every value of a list such as `1-5/2,8,*/20`.
fn values(field: &str, min: u32, max: u32, names: Names) -> Option<Vec<u32>> {
    let mut all = Vec::new();
    for part in field.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step.parse::<u32>().ok().filter(|step| *step >= 1)?)),
            None => (part, None),
        };
        let (start, end) = if range == "*" {
            (min, max)
        } else if let Some((start, end)) = range.split_once('-') {
            let start = value(start, min, max, names)?;
            (start, value(end, start, max, names)?)
        } else {
            let start = value(range, min, max, names)?;
            // `5/10` goes on to the end, `5` does not.
            (start, if step.is_some() { max } else { start })
        };
        all.extend((start..=end).step_by(step.unwrap_or(1) as usize));
    }
    Some(all)
}

/// A number, or a name of which at least the first letters are given: three of months, two of days.
fn value(text: &str, min: u32, max: u32, names: Names) -> Option<u32> {
    let (known, least, first): (&[&str], usize, u32) = match names {
        Names::None => (&[], 0, 0),
        Names::Months => (&MONTHS, 3, 1),
        Names::Weekdays => (&WEEKDAYS, 2, 0),
    };
    let lower = text.to_ascii_lowercase();
    let named = (text.len() >= least)
        .then(|| (first..).zip(known).find(|(_, name)| name.starts_with(&lower)).map(|(number, _)| number))
        .flatten();
    let number = named.or_else(|| text.parse().ok())?;
    (min..=max).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(expression: &str, after: &str, count: usize) -> Vec<String> {
        let Some(Expression { rule: Rule::Calendar(calendar), .. }) = Expression::parse(expression) else {
            panic!("no calendar: {expression}")
        };
        let mut last: NaiveDateTime = after.parse().unwrap();
        std::iter::from_fn(|| {
            last = calendar.next_after(last)?;
            Some(last.to_string())
        })
        .take(count)
        .collect()
    }

    #[test]
    fn five_six_and_seven_fields_are_told_apart() {
        assert_eq!(times("30 9 * * *", "2026-01-01T09:30:00", 1), ["2026-01-02 09:30:00"]);
        assert_eq!(times("0 0 1 1 * 2027", "2026-01-01T00:00:00", 5), ["2027-01-01 00:00:00"]);
        assert_eq!(
            times("*/20 0 0 1 1 * 2027-2028", "2027-01-01T00:00:20", 2),
            ["2027-01-01 00:00:40", "2028-01-01 00:00:00"]
        );
    }

    #[test]
    fn day_of_month_and_day_of_week_must_both_match() {
        assert_eq!(
            times("0 12 13 * fri", "2026-01-01T00:00:00", 3),
            ["2026-02-13 12:00:00", "2026-03-13 12:00:00", "2026-11-13 12:00:00"]
        );
    }

    #[test]
    fn lists_ranges_steps_and_names_are_read() {
        assert_eq!(
            times("0 8-10/2,22 * JAN,febr Su,7", "2026-01-31T23:00:00", 4),
            ["2026-02-01 08:00:00", "2026-02-01 10:00:00", "2026-02-01 22:00:00", "2026-02-08 08:00:00"]
        );
        assert_eq!(
            times("50/5 * * * *", "2026-01-01T00:00:00", 3),
            ["2026-01-01 00:50:00", "2026-01-01 00:55:00", "2026-01-01 01:50:00"]
        );
    }

    #[test]
    fn dates_that_never_come_have_no_times() {
        assert_eq!(times("0 0 30 2 *", "2026-01-01T00:00:00", 1), [""; 0]);
        assert_eq!(times("0 0 1 1 * 2020", "2026-01-01T00:00:00", 1), [""; 0]);
        assert_eq!(times("0 0 29 2 *", "2026-01-01T00:00:00", 1), ["2028-02-29 00:00:00"]);
    }

    #[test]
    fn macros_zones_and_comments_are_read() {
        for (text, zone, same) in [
            ("@hourly", None, "0 * * * *"),
            ("@midnight", None, "0 0 * * *"),
            ("CRON_TZ=Europe/Berlin @weekly", Some("Europe/Berlin"), "0 0 * * 7"),
            ("TZ=UTC 0 0 1 * * # bills", Some("UTC"), "0 0 1 * *"),
            ("  @yearly  # once", None, "0 0 1 1 *"),
        ] {
            let read = Expression::parse(text).unwrap();
            assert_eq!((read.zone, read.rule), (zone, Expression::parse(same).unwrap().rule), "{text}");
        }
        let every = |seconds, phase| Some(Rule::Every { seconds, phase });
        assert_eq!(Expression::parse("@every 90m").map(|read| read.rule), every(5_400, 0));
        assert_eq!(Expression::parse("@every 1d2h/1h30m5s # x").map(|read| read.rule), every(93_600, 5_405));
    }

    #[test]
    fn what_is_no_expression_is_refused() {
        for text in [
            "",
            "   ",
            "* * * *",
            "* * * * * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "* * * * * 1999",
            "* * ? * *",
            "* * L * *",
            "* * 15W * *",
            "* * * * 5#2",
            "# * * * * *",
            "*/0 * * * *",
            "1/2/3 * * * *",
            "5-1 * * * *",
            "1- * * * *",
            "a * * * *",
            "* * * j *",
            "@every",
            "@every 0s",
            "@every 5",
            "@every 1h/2h",
            "@every99s",
            "@every 99999999999999999999s",
            "@every 25000d",
            "@reboot",
            "CRON_TZ=UTC",
        ] {
            assert_eq!(Expression::parse(text), None, "{text:?}");
        }
    }
}
