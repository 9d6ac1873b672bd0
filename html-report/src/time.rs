//! What happened when, how long it took, and how that compares with what was wanted and with before.

use std::fmt;

use cli_common::Tone;
use jiff::Timestamp;

use crate::Text;

/// What happened when.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// When its first second was, in microseconds since 1970 in UTC. Without it, times are told from its beginning on.
    pub begins_at: Option<i64>,
    /// What happened, by time.
    pub entries: Vec<Entry>,
}

/// A moment, or a span of time.
#[derive(Clone, Debug)]
pub struct Entry {
    /// What it was.
    pub name: Text,
    /// Its beginning, in seconds from the beginning of the timeline.
    pub at: f64,
    /// How many seconds it took; `None` for a moment.
    pub lasts: Option<f64>,
    /// What else is known of it: who, with which command.
    pub note: Text,
    /// How it ended, if that is to be shown.
    pub tone: Option<Tone>,
}

impl Entry {
    /// A moment.
    #[must_use]
    pub fn moment(name: impl Into<Text>, at: f64) -> Self {
        Self {
            name: name.into(),
            at,
            lasts: None,
            note: Text::default(),
            tone: None,
        }
    }

    /// A span of time.
    #[must_use]
    pub fn span(name: impl Into<Text>, at: f64, lasts: f64) -> Self {
        Self {
            lasts: Some(lasts),
            ..Self::moment(name, at)
        }
    }

    /// With something else that is known of it.
    #[must_use]
    pub fn note(mut self, note: impl Into<Text>) -> Self {
        self.note = note.into();
        self
    }

    /// With how it ended.
    #[must_use]
    pub fn tone(mut self, tone: Tone) -> Self {
        self.tone = Some(tone);
        self
    }
}

/// Something that was reached, against what was wanted.
#[derive(Clone, Debug)]
pub struct Objective {
    /// What: `RTO`, `RPO`, a phase.
    pub name: Text,
    /// What was reached; `None` if it is not known.
    pub reached: Option<f64>,
    /// What was wanted, at most.
    pub wanted: Option<f64>,
    /// In what.
    pub unit: Unit,
    /// What it means.
    pub note: Text,
}

impl Objective {
    /// Whether it was met; `None` if nothing was wanted, or it is not known what was reached.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        Some(self.reached? <= self.wanted?)
    }
}

/// What numbers count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Events.
    Events,
    /// Parts of a hundred.
    Percent,
    /// Anything.
    Count,
}

impl Unit {
    /// A number of it, in words.
    #[must_use]
    pub fn of(self, number: f64) -> String {
        match self {
            Self::Seconds => duration(number),
            Self::Events if number == 1.0 => "1 event".to_owned(),
            Self::Events => format!("{} events", plain(number)),
            Self::Percent => format!("{} %", plain(number)),
            Self::Count => plain(number),
        }
    }
}

/// How something went from one time to the next.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// What was measured each time.
    pub series: Vec<Series>,
}

/// One thing that was measured again and again.
#[derive(Clone, Debug)]
pub struct Series {
    /// What.
    pub name: Text,
    /// In what.
    pub unit: Unit,
    /// What was wanted, at most.
    pub wanted: Option<f64>,
    /// What was measured, by time.
    pub points: Vec<Point>,
}

/// What was measured one time.
#[derive(Clone, Debug)]
pub struct Point {
    /// When, or of what: `2026-03-01`.
    pub at: Text,
    /// What was measured; `None` if it was not.
    pub value: Option<f64>,
    /// How that time went.
    pub tone: Tone,
}

/// A number with at most three digits behind the point, and thousands apart.
fn plain(number: f64) -> String {
    if number.fract().abs() < 1e-9 && number.abs() < 9e15 {
        return grouped(&format!("{number:.0}"));
    }
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Digits with a thin space between thousands.
pub(crate) fn grouped(digits: &str) -> String {
    let (sign, digits) = digits
        .strip_prefix('-')
        .map_or(("", digits), |digits| ("-", digits));
    let mut text = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `0.123 s`, `12.3 s`, `4 min 05 s`, `3 h 12 min`, `2 d 4 h`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "-".to_owned();
    }
    if seconds < 0.0 {
        return format!("-{}", duration(-seconds));
    }
    if seconds < 60.0 {
        let text = match seconds {
            s if s < 10.0 => format!("{s:.3}"),
            s => format!("{s:.1}"),
        };
        let text = text.trim_end_matches('0').trim_end_matches('.');
        return format!("{text} s");
    }
    // More is no time that anything took.
    let whole = seconds.round().min(1e15) as u64;
    let (d, h, m, s) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60);
    match (d, h, m) {
        (0, 0, m) => format!("{m} min {s:02} s"),
        (0, h, m) => format!("{h} h {m:02} min"),
        (d, h, _) => format!("{d} d {h} h"),
    }
}

/// A moment by its microseconds since 1970: `2026-03-01 12:00:00 UTC`.
pub(crate) fn moment(micros: i64) -> String {
    match Timestamp::from_microsecond(micros) {
        Ok(at) => Moment(at).to_string(),
        Err(_) => "a time that no calendar has".to_owned(),
    }
}

struct Moment(Timestamp);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.0}", self.0);
        let text = text.trim_end_matches('Z').replace('T', " ");
        write!(f, "{text} UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_words() {
        let words = [
            (0.0, "0 s"),
            (0.1234, "0.123 s"),
            (12.345, "12.3 s"),
            (245.0, "4 min 05 s"),
            (11_520.0, "3 h 12 min"),
            (187_200.0, "2 d 4 h"),
            (-3.0, "-3 s"),
            (f64::NAN, "-"),
        ];
        for (seconds, text) in words {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(moment(1_763_618_231_194_000), "2025-11-20 05:57:11 UTC");
        assert_eq!(moment(i64::MAX), "a time that no calendar has");
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(Unit::Events.of(1.0), "1 event");
        assert_eq!(Unit::Events.of(1_234_567.0), "1\u{202f}234\u{202f}567 events");
        assert_eq!(Unit::Percent.of(99.5), "99.5 %");
        assert_eq!(Unit::Count.of(-1234.0), "-1234");
    }

    #[test]
    fn what_nobody_wanted_is_neither_met_nor_missed() {
        let mut rto = Objective {
            name: "RTO".into(),
            reached: Some(5.0),
            wanted: None,
            unit: Unit::Seconds,
            note: Text::default(),
        };
        assert_eq!(rto.met(), None);
        rto.wanted = Some(5.0);
        assert_eq!(rto.met(), Some(true));
        rto.reached = None;
        assert_eq!(rto.met(), None);
    }
}
