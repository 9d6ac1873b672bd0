//! The pass over old rows: every event is read again once in a period, a few at a time.

use std::time::Duration;

use event_log::StreamFilter;
use ves::StreamKey;
use ves::span::Span;

use super::memory::{Memory, ScrubNotes};

/// So many rows are read in one look, at most.
const MOST_ROWS: u64 = 20_000;
/// Fewer are not worth a transaction of their own, unless a stream has no more.
const LEAST_ROWS: u64 = 200;

/// How fast old rows are read. Time is what it is told.
#[derive(Debug)]
pub struct Pace {
    /// Nothing: all at once.
    period: Option<Duration>,
    most: Option<f64>,
    credit: f64,
    last: Option<Duration>,
}

impl Pace {
    /// Every event once in `period`, and never more than `most` rows a second; without a period, all at once.
    pub fn new(period: Option<Duration>, most: Option<f64>) -> Self {
        Self {
            period,
            most,
            credit: 0.0,
            last: None,
        }
    }

    /// How many rows may be read at `now`, of a log of so many events.
    pub fn rows(&mut self, now: Duration, events: u64) -> u64 {
        let Some(period) = self.period else {
            return events;
        };
        let since = self.last.map_or(Duration::ZERO, |last| now.saturating_sub(last));
        self.last = Some(now);
        // A whole pass in the period, with something to spare for looks that fail.
        let rate = events as f64 * 1.1 / period.as_secs_f64().max(1.0);
        let rate = self.most.map_or(rate, |most| rate.min(most));
        self.credit = (self.credit + rate * since.as_secs_f64()).min(MOST_ROWS as f64);
        self.credit as u64
    }

    /// So many were read.
    pub fn spend(&mut self, rows: u64) {
        self.credit -= rows as f64;
    }
}

/// The streams that are looked at, with the number up to which their rows were judged.
fn watched<'a>(memory: &'a Memory, filter: &'a StreamFilter) -> impl Iterator<Item = (StreamKey, u64)> + 'a {
    let all = memory.streams.iter().map(|(stream, of)| (*stream, of.checked));
    all.filter(|(stream, _)| filter.admits(stream))
}

/// What is behind the pass: up to this number of this stream.
fn behind(memory: &Memory, filter: &StreamFilter) -> Option<(StreamKey, u64)> {
    let at = &memory.scrub;
    // A run that looked at other streams may have left it where this one does not look.
    at.stream
        .filter(|stream| filter.admits(stream))
        .map(|stream| (stream, at.to))
}

/// What is to be read next, if `rows` may be; nothing while too few may be, or while there is nothing. Streams that the filter
/// does not let through may be in the same memory: nothing is known of them here.
pub fn next(memory: &Memory, filter: &StreamFilter, rows: u64) -> Option<(StreamKey, Span)> {
    let behind = behind(memory, filter);
    let left = watched(memory, filter).filter_map(|(stream, checked)| {
        let to = match behind {
            Some((at, _)) if stream < at => return None,
            Some((at, to)) if stream == at => to,
            _ => 0,
        };
        Some((stream, Span::new(to + 1, checked)?))
    });
    let (stream, left) = left.into_iter().next()?;
    if rows < LEAST_ROWS.min(left.count()) {
        return None;
    }
    Some((stream, left.pieces(rows.clamp(1, MOST_ROWS)).next()?))
}

/// Notes that a part was read; `at` is the time of the host. The pass begins again behind the last stream.
pub fn done(memory: &mut Memory, filter: &StreamFilter, part: (StreamKey, Span), at: &str) {
    let (stream, to) = (part.0, part.1.end());
    memory.scrub.stream = Some(stream);
    memory.scrub.to = to;
    let more = watched(memory, filter)
        .any(|(key, checked)| key >= stream && checked > if key == stream { to } else { 0 });
    if !more {
        memory.scrub = ScrubNotes {
            stream: None,
            to: 0,
            completed_at: Some(at.to_owned()),
        };
    }
}

/// How much of the pass is done: events behind it, of all.
pub fn progress(memory: &Memory, filter: &StreamFilter) -> (u64, u64) {
    let total = watched(memory, filter).map(|(_, checked)| checked).sum();
    let before = behind(memory, filter).map_or(0, |(at, to)| {
        let whole = watched(memory, filter).filter(|(stream, _)| *stream < at);
        whole.map(|(_, checked)| checked).sum::<u64>() + to
    });
    (before, total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_takes_its_period_whatever_the_pace_of_looks() {
        for step in [1_u64, 5, 60] {
            let mut pace = Pace::new(Some(Duration::from_secs(10_000)), None);
            let (mut now, mut read) = (Duration::ZERO, 0);
            while read < 50_000 {
                let rows = pace.rows(now, 50_000);
                if rows >= LEAST_ROWS {
                    pace.spend(rows);
                    read += rows;
                }
                now += Duration::from_secs(step);
            }
            let seconds = now.as_secs();
            assert!((8_500..=10_000).contains(&seconds), "{step}: {seconds}");
        }
    }

    #[test]
    fn a_limit_and_a_long_sleep_do_not_flood_the_server() {
        let mut pace = Pace::new(Some(Duration::from_secs(1)), Some(100.0));
        pace.rows(Duration::ZERO, 1_000_000);
        assert_eq!(pace.rows(Duration::from_secs(2), 1_000_000), 200);
        // The host slept for a week.
        assert_eq!(pace.rows(Duration::from_secs(700_000), 1_000_000), MOST_ROWS);
        // A clock that goes backwards gives nothing.
        assert_eq!(pace.rows(Duration::from_secs(5), 1_000_000), MOST_ROWS);
    }
}
