//! The table.

use std::fmt::Write as _;

use crate::deployment::Backend;

/// One row as one backend gives it.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    /// What was measured; the same on every backend.
    pub(crate) measure: String,
    pub(crate) unit: Unit,
    pub(crate) target: Option<Target>,
    pub(crate) value: f64,
    /// What the machine itself can do.
    pub(crate) raw: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    PerSecond,
    Seconds,
    Millis,
    Micros,
    /// How many, which may be a mean.
    Count,
    Mebibytes,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Target {
    /// At most this much, on SQLite and on PostgreSQL.
    AtMost(f64, f64),
    /// At most this much on PostgreSQL; SQLite is not held to anything.
    AtMostOnPostgres(f64),
    AtLeast(f64),
    /// At least this share of the raw limit.
    Share(f64),
}

/// Everything measured so far.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    failures: Vec<String>,
}

#[derive(Debug)]
struct Row {
    measure: String,
    unit: Unit,
    target: Option<Target>,
    sqlite: Option<Figure>,
    postgres: Option<Figure>,
}

#[derive(Debug, Clone, Copy)]
struct Figure {
    value: f64,
    raw: Option<f64>,
}

impl Report {
    /// Puts lines into their rows; a row stands where it first came.
    pub(crate) fn add(&mut self, backend: Backend, lines: Vec<Line>) {
        for Line { measure, unit, target, value, raw } in lines {
            let place = self.rows.iter().position(|row| row.measure == measure).unwrap_or_else(|| {
                self.rows.push(Row { measure, unit, target, sqlite: None, postgres: None });
                self.rows.len() - 1
            });
            let figure = Some(Figure { value, raw });
            match backend {
                Backend::Sqlite => self.rows[place].sqlite = figure,
                Backend::Postgres => self.rows[place].postgres = figure,
            }
        }
    }

    /// Notes that something could not be measured.
    pub(crate) fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.failures.is_empty()
    }

    /// The table in Markdown, and below it what could not be measured.
    pub(crate) fn markdown(&self) -> String {
        let mut text = "| Measure | SQLite | PostgreSQL | Raw limit | Target | Met |\n".to_owned();
        text += "| --- | ---: | ---: | ---: | --- | --- |\n";
        for row in &self.rows {
            text += &row.markdown();
        }
        for failure in &self.failures {
            let _ = write!(text, "\n**Not measured:** {failure}\n");
        }
        text
    }
}

impl Row {
    fn markdown(&self) -> String {
        let Self { measure, unit, target, sqlite, postgres } = self;
        let cell = |figure: &Option<Figure>| figure.map_or_else(|| "–".to_owned(), |figure| figure.text(*unit));
        let target_text = target.map_or_else(|| "–".to_owned(), |target| target.text(*unit));
        format!(
            "| {measure} | {} | {} | {} | {target_text} | {} |\n",
            cell(sqlite),
            cell(postgres),
            self.raw(),
            self.met()
        )
    }

    /// The raw limits, SQLite's first; one alone when there is only one or both are the same.
    fn raw(&self) -> String {
        let mut raw: Vec<String> =
            [self.sqlite, self.postgres].into_iter().filter_map(|figure| Some(self.unit.text(figure?.raw?))).collect();
        raw.dedup();
        if raw.is_empty() { "–".to_owned() } else { raw.join(" / ") }
    }

    fn met(&self) -> &'static str {
        let Some(target) = self.target else { return "–" };
        let met = |backend, figure: Option<Figure>| figure.and_then(|figure| target.is_met(backend, figure));
        match (met(Backend::Sqlite, self.sqlite), met(Backend::Postgres, self.postgres)) {
            (None, None) => "–",
            (Some(true) | None, Some(true) | None) => "yes",
            (Some(true), Some(false)) => "SQLite only",
            (Some(false), Some(true)) => "PostgreSQL only",
            (Some(false), _) | (None, Some(false)) => "no",
        }
    }
}

impl Figure {
    fn text(self, unit: Unit) -> String {
        let text = unit.text(self.value);
        match self.raw {
            Some(raw) if unit == Unit::PerSecond && raw > 0.0 => format!("{text} ({:.0} %)", self.value / raw * 100.0),
            _ => text,
        }
    }
}

impl Unit {
    fn text(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Seconds => format!("{} s", short(value)),
            Self::Millis => format!("{} ms", short(value)),
            Self::Micros => format!("{} µs", short(value)),
            Self::Count => format!("{value:.2}"),
            Self::Mebibytes => format!("{value:.1} MiB"),
        }
    }
}

impl Target {
    fn text(self, unit: Unit) -> String {
        match self {
            Self::AtMost(sqlite, postgres) if sqlite.to_bits() == postgres.to_bits() => {
                format!("≤ {}", unit.text(sqlite))
            }
            Self::AtMost(sqlite, postgres) => format!("≤ {} / {}", unit.text(sqlite), unit.text(postgres)),
            Self::AtMostOnPostgres(most) => format!("≤ {} on PostgreSQL", unit.text(most)),
            Self::AtLeast(least) => format!("≥ {}", unit.text(least)),
            Self::Share(share) => format!("≥ {:.0} % of raw", share * 100.0),
        }
    }

    /// `None` when nothing is asked of the backend.
    fn is_met(self, backend: Backend, Figure { value, raw }: Figure) -> Option<bool> {
        match (self, backend) {
            (Self::AtMostOnPostgres(_), Backend::Sqlite) => None,
            (Self::AtMost(most, _), Backend::Sqlite)
            | (Self::AtMost(_, most) | Self::AtMostOnPostgres(most), Backend::Postgres) => Some(value <= most),
            (Self::AtLeast(least), _) => Some(value >= least),
            (Self::Share(share), _) => Some(raw.is_some_and(|raw| value >= share * raw)),
        }
    }
}

/// Without fraction, with a comma every three digits.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// With about three significant digits.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        middle if middle >= 10.0 => format!("{value:.1}"),
        small if small >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(measure: &str, value: f64, target: Target) -> Line {
        Line { measure: measure.to_owned(), unit: Unit::PerSecond, target: Some(target), value, raw: Some(2000.0) }
    }

    #[test]
    fn backends_share_rows_and_each_is_held_to_the_target() {
        let mut report = Report::default();
        let share = Target::Share(0.5);
        report.add(Backend::Sqlite, vec![line("a", 1234.0, share), line("b", 10.0, Target::AtLeast(5.0))]);
        report.add(Backend::Postgres, vec![line("a", 999.0, share)]);

        let table = report.markdown();
        let rows: Vec<&str> = table.lines().skip(2).collect();

        assert_eq!(
            rows,
            [
                "| a | 1,234/s (62 %) | 999/s (50 %) | 2,000/s | ≥ 50 % of raw | SQLite only |",
                "| b | 10/s (0 %) | – | 2,000/s | ≥ 5/s | yes |",
            ]
        );
        assert!(report.is_complete());
    }

    #[test]
    fn targets_may_differ_and_failures_are_told() {
        let mut report = Report::default();
        let start = |value| Line {
            measure: "start".to_owned(),
            unit: Unit::Millis,
            target: Some(Target::AtMost(100.0, 300.0)),
            value,
            raw: None,
        };
        report.add(Backend::Sqlite, vec![start(100.2)]);
        report.add(Backend::Postgres, vec![start(200.0)]);
        report.fail("rpc: it broke".to_owned());

        let table = report.markdown();

        assert!(table.contains("| start | 100 ms | 200 ms | – | ≤ 100 ms / 300 ms | PostgreSQL only |"), "{table}");
        assert!(table.ends_with("**Not measured:** rpc: it broke\n"), "{table}");
        assert!(!report.is_complete());
    }

    #[test]
    fn a_target_for_one_backend_does_not_hold_the_other_to_it() {
        for (sqlite, postgres, met) in [(99.0, 9.0, "yes"), (1.0, 11.0, "no")] {
            let mut report = Report::default();
            let target = Target::AtMostOnPostgres(10.0);
            report.add(Backend::Sqlite, vec![Line { unit: Unit::Millis, ..line("list", sqlite, target) }]);
            report.add(Backend::Postgres, vec![Line { unit: Unit::Millis, ..line("list", postgres, target) }]);

            let table = report.markdown();

            assert!(table.ends_with(&format!("| ≤ 10.0 ms on PostgreSQL | {met} |\n")), "{table}");
        }
    }

    #[test]
    fn numbers_are_short_and_readable() {
        assert_eq!([0.0, 999.4, 1000.0, 1_234_567.0].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0.0456, 1.234, 12.34, 123.4, -0.01].map(short), ["0.046", "1.23", "12.3", "123", "-0.010"]);
    }
}
