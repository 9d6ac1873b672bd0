//! Points in time, with the microsecond resolution of PostgreSQL's `timestamptz`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Microseconds since 1970-01-01T00:00:00Z.
///
/// Finer digits are cut off, not rounded, as the sequencer does when it stores `created_at`
/// (`…56.123456789Z` becomes `…56.123456`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

/// Text that is not an RFC 3339 date and time with an offset.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time: {0:?}")]
pub struct TimeError(pub String);

impl Timestamp {
    /// Seconds since the Unix epoch, as blocks of a chain carry them.
    pub fn from_unix_seconds(seconds: u64) -> Option<Self> {
        i64::try_from(seconds).ok()?.checked_mul(1_000_000).map(Self)
    }

    /// Seconds between two points in time (negative if `earlier` is later).
    pub fn seconds_since(self, earlier: Timestamp) -> f64 {
        (self.0.saturating_sub(earlier.0)) as f64 / 1e6
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six digits, e.g. `2026-11-20T05:57:11.194000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(time) => write!(f, "{time:.6}"),
            // Beyond the years that a calendar has: the number itself still tells.
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timestamp({self})")
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    /// Reads RFC 3339 with any offset; a space for the `T` and a bare hour offset, as PostgreSQL
    /// prints them (`2026-11-20 05:57:08.59+00`), are understood too.
    fn from_str(s: &str) -> Result<Self, TimeError> {
        let time: jiff::Timestamp = s.parse().map_err(|_| TimeError(s.chars().take(60).collect()))?;
        // Integer division truncates towards zero, so a fraction before 1970 needs the floor.
        Ok(Self(
            i64::try_from(time.as_nanosecond().div_euclid(1000)).map_err(|_| TimeError(s.into()))?,
        ))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finer_digits_are_cut_and_offsets_resolved() {
        let cases = [
            ("2025-11-01T00:01:14.123456789Z", "2025-11-01T00:01:14.123456Z"),
            ("2025-11-01T00:02:28.5+02:00", "2025-10-31T22:02:28.500000Z"),
            ("2025-11-01T00:03:05-08:00", "2025-11-01T08:03:05.000000Z"),
            ("2025-11-01 00:01:14.123456+00", "2025-11-01T00:01:14.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), expected, "{text}");
        }
        for bad in [
            "",
            "yesterday",
            "2025-11-01",
            "2025-11-01T00:00:00",
            "2025-13-01T00:00:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_printed_reads_back() {
        for us in [0, -1, 1_763_000_000_123_456, -62_000_000_000_000_000] {
            assert_eq!(
                Timestamp(us).to_string().parse::<Timestamp>().unwrap(),
                Timestamp(us)
            );
        }
    }
}
