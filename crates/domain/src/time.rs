use std::fmt;

use chrono::{DateTime, Duration, NaiveDateTime, SubsecRound, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC with microsecond precision: what both stores keep, so that a value read back equals the one written.
///
/// As text: RFC 3339 with `Z`, and exactly six fraction digits or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(DateTime<Utc>);

impl Timestamp {
    /// Takes a moment, dropping what is finer than a microsecond.
    #[must_use]
    pub fn new(moment: DateTime<Utc>) -> Self {
        Self(moment.trunc_subsecs(6))
    }

    /// Microseconds since 1970-01-01T00:00:00Z; `None` outside the range of dates.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        DateTime::from_timestamp_micros(micros).map(Self)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0.timestamp_micros()
    }

    /// The moment as chrono knows it.
    #[must_use]
    pub const fn as_datetime(self) -> DateTime<Utc> {
        self.0
    }

    /// This moment plus whole milliseconds.
    #[must_use]
    pub fn plus_millis(self, millis: i64) -> Self {
        Self(self.0 + Duration::milliseconds(millis))
    }

    /// Reads RFC 3339 leniently, as callers send it: any offset, none at all (UTC), a blank for the `T`, or a bare date.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
            return Some(Self::new(moment.with_timezone(&Utc)));
        }
        if let Ok(moment) = DateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f%:z") {
            return Some(Self::new(moment.with_timezone(&Utc)));
        }
        let naive = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
            .iter()
            .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
            .or_else(|| chrono::NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))?;
        Some(Self::new(naive.and_utc()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let format =
            if self.0.timestamp_subsec_micros() == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S%.6fZ" };
        write!(f, "{}", self.0.format(format))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("not a timestamp"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fraction_has_six_digits_or_is_absent() {
        assert_eq!(Timestamp::parse("2025-01-02T03:04:05Z").unwrap().to_string(), "2025-01-02T03:04:05Z");
        assert_eq!(Timestamp::parse("2025-01-02T03:04:05.8Z").unwrap().to_string(), "2025-01-02T03:04:05.800000Z");
        assert_eq!(
            Timestamp::parse("2025-01-02T03:04:05.123456789Z").unwrap().to_string(),
            "2025-01-02T03:04:05.123456Z"
        );
    }

    #[test]
    fn offsets_are_converted_and_naive_text_is_utc() {
        let utc = Timestamp::parse("2025-01-02T03:04:05Z");

        for same in ["2025-01-02T05:04:05+02:00", "2025-01-02T03:04:05", "2025-01-02 03:04:05"] {
            assert_eq!(Timestamp::parse(same), utc, "{same}");
        }
        assert_eq!(Timestamp::parse("2025-01-02"), Timestamp::parse("2025-01-02T00:00:00Z"));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn microseconds_round_trip() {
        let moment = Timestamp::parse("2025-01-02T03:04:05.123456Z").unwrap();

        assert_eq!(Timestamp::from_micros(moment.as_micros()), Some(moment));
    }
}
