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

impl Timestamp {
    /// Reads the one form that [`Timestamp`]'s `Display` writes, and nothing else: `2026-11-20T05:57:11.194000Z`, of a
    /// year from 0000 to 9998. Many times as fast as [`str::parse`], which is to be asked about all for which this gives
    /// `None`.
    pub fn from_canonical(text: &str) -> Option<Self> {
        let text: &[u8; 27] = text.as_bytes().try_into().ok()?;
        let number = |range: std::ops::Range<usize>| -> Option<i64> {
            text[range].iter().try_fold(0, |number, digit| {
                digit
                    .is_ascii_digit()
                    .then(|| number * 10 + i64::from(digit - b'0'))
            })
        };
        let marks = [
            (4, b'-'),
            (7, b'-'),
            (10, b'T'),
            (13, b':'),
            (16, b':'),
            (19, b'.'),
            (26, b'Z'),
        ];
        if marks.iter().any(|(at, mark)| text[*at] != *mark) {
            return None;
        }
        let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
        let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let days = match month {
            2 => 28 + i64::from(leap),
            4 | 6 | 9 | 11 => 30,
            1..=12 => 31,
            _ => return None,
        };
        // The last year's last day is not one that can be printed in every zone, so not all of it can be read.
        if year == 9999 || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        // Days since 1970-01-01 in the proleptic Gregorian calendar, counted from the first of March of year 0, so that
        // the leap day is a year's last: 365 days a year, a leap day every 4 years but for 3 of 400, and 153 days in
        // every five months.
        let years = if month > 2 { year } else { year - 1 };
        let months = (month + 9) % 12;
        let leap_days = years.div_euclid(4) - years.div_euclid(100) + years.div_euclid(400);
        let days = years * 365 + leap_days + (153 * months + 2) / 5 + day - 1 - 719_468;
        let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
        Some(Self(seconds * 1_000_000 + number(20..26)?))
    }
}

impl Timestamp {
    /// The text that `Display` writes, of a year from 0000 to 9998: what [`Timestamp::from_canonical`] reads. `None` beyond.
    pub fn canonical(self) -> Option<[u8; 27]> {
        const DAY: i64 = 86_400_000_000;
        let (days, micros) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        // As in `from_canonical`, years begin in March here: 400 of them have 146,097 days, 100 have 36,524 and 4 have 1,461.
        let days = days + 719_468;
        let (era, day) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let months = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * months + 2) / 5 + 1;
        let (month, later) = if months < 10 {
            (months + 3, 0)
        } else {
            (months - 9, 1)
        };
        let year = era * 400 + year_of_era + later;
        if !(0..=9998).contains(&year) {
            return None;
        }
        let mut text = *b"0000-00-00T00:00:00.000000Z";
        let mut put = |at: std::ops::Range<usize>, mut number: i64| {
            for digit in text[at].iter_mut().rev() {
                *digit = b'0' + (number % 10) as u8;
                number /= 10;
            }
        };
        let seconds = micros / 1_000_000;
        put(0..4, year);
        put(5..7, month);
        put(8..10, day);
        put(11..13, seconds / 3600);
        put(14..16, seconds / 60 % 60);
        put(17..19, seconds % 60);
        put(20..26, micros % 1_000_000);
        Some(text)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with six digits, e.g. `2026-11-20T05:57:11.194000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let canonical = self.canonical();
        if let Some(text) = canonical.as_ref().and_then(|text| std::str::from_utf8(text).ok()) {
            return f.write_str(text);
        }
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

    fn by_jiff(time: Timestamp) -> String {
        format!("{:.6}", jiff::Timestamp::from_microsecond(time.0).unwrap())
    }

    #[test]
    fn the_first_and_last_moments_of_years_are_written_as_by_a_calendar() {
        for year in (-3..=9_998)
            .step_by(7)
            .chain([0, 1, 1899, 1900, 1999, 2000, 9997, 9998])
        {
            let text = |year: i64| match year {
                0.. => format!("{year:04}-01-01T00:00:00Z"),
                _ => format!("-{:06}-01-01T00:00:00Z", -year),
            };
            let first: Timestamp = text(year).parse().unwrap();
            for time in [first.0 - 1, first.0, first.0 + 1].map(Timestamp) {
                assert_eq!(time.to_string(), by_jiff(time), "{year}");
            }
        }
        assert!(Timestamp(i64::MAX).canonical().is_none());
        assert!(Timestamp(i64::MIN).canonical().is_none());
        assert_eq!(Timestamp(i64::MIN).to_string(), format!("{}us", i64::MIN));
    }

    #[test]
    fn the_canonical_form_and_nothing_else_is_read_fast() {
        let day = 86_400_000_000;
        // Every third day or so of 900 years, so that every leap year and month is met, at all times of the day.
        for nth in -80_000..40_000_i64 {
            let time = Timestamp(nth * day * 3 - nth * 700_000_001 % day);
            let text = by_jiff(time);
            assert_eq!(time.to_string(), text, "{nth}");
            assert_eq!(time.canonical().is_some(), text.len() == 27, "{text}");
            let expected = (text.len() == 27).then_some(time);
            assert_eq!(Timestamp::from_canonical(&text), expected, "{text}");
        }
        for text in [
            "0000-01-01T00:00:00.000000Z",
            "0000-02-29T23:59:59.999999Z",
            "9998-12-31T23:59:59.999999Z",
            "1969-12-31T23:59:59.999999Z",
        ] {
            let parsed: Timestamp = text.parse().unwrap();
            assert_eq!(Timestamp::from_canonical(text), Some(parsed), "{text}");
            assert_eq!(parsed.to_string(), text);
        }
        for other in [
            "",
            "2026-11-20T05:57:11.194Z",
            "2026-11-20T05:57:11.194000z",
            "2026-11-20 05:57:11.194000Z",
            "2026-11-20T05:57:60.194000Z",
            "2026-11-20T24:00:00.000000Z",
            "2026-13-20T05:57:11.194000Z",
            "2026-00-20T05:57:11.194000Z",
            "2026-11-31T05:57:11.194000Z",
            "2026-11-00T05:57:11.194000Z",
            "2026-02-29T05:57:11.194000Z",
            "1900-02-29T05:57:11.194000Z",
            "2026-1x-20T05:57:11.194000Z",
            "+026-11-20T05:57:11.194000Z",
            "2026-11-20T05:57:11.19400é",
            "9999-01-01T00:00:00.000000Z",
        ] {
            assert_eq!(Timestamp::from_canonical(other), None, "{other}");
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
