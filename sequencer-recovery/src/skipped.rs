//! Checks that were left out for one reason in many streams: said once, not once a stream.

use std::collections::BTreeMap;

use ves::StreamKey;

/// How many checks of a kind were left out, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Skipped(BTreeMap<(&'static str, String), Places>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Places {
    checks: u64,
    streams: u64,
    first: StreamKey,
}

impl Skipped {
    /// Adds `checks` of a stream: `what` was not checked, and why. To be called once a stream for each reason.
    pub(crate) fn add(&mut self, stream: StreamKey, what: &'static str, why: &str, checks: u64) {
        let places = Places {
            checks,
            streams: 1,
            first: stream,
        };
        self.add_places((what, why.to_owned()), places);
    }

    /// Adds what was left out in other streams.
    pub(crate) fn extend(&mut self, others: Self) {
        for (reason, places) in others.0 {
            self.add_places(reason, places);
        }
    }

    fn add_places(&mut self, reason: (&'static str, String), more: Places) {
        self.0
            .entry(reason)
            .and_modify(|places| {
                places.checks = places.checks.saturating_add(more.checks);
                places.streams += more.streams;
            })
            .or_insert(more);
    }

    /// One line for each reason.
    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|((what, why), places)| match places {
            Places {
                checks,
                streams: 1,
                first,
            } => format!("{first}: {checks} {what}: {why}"),
            Places { checks, streams, .. } => format!("{checks} {what} in {streams} streams: {why}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stream_is_named_and_several_are_counted() {
        let stream = |n: u8| {
            let id = format!("00000000-0000-4000-8000-0000000000{n:02}");
            StreamKey::new(id.parse().unwrap(), id.parse().unwrap())
        };
        let mut all = Skipped::default();
        for (n, checks) in [(1, 5), (2, 7)] {
            let mut of_stream = Skipped::default();
            of_stream.add(stream(n), "receipt signature(s)", "no key", checks);
            if n == 2 {
                of_stream.add(stream(n), "agent signature(s)", "unknown scheme", 1);
            }
            all.extend(of_stream);
        }
        let lines: Vec<String> = all.lines().collect();
        let alone = format!("{}: 1 agent signature(s): unknown scheme", stream(2));
        assert_eq!(
            lines,
            [alone, "12 receipt signature(s) in 2 streams: no key".into()]
        );
    }
}
