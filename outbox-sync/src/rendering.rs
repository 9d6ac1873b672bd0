//! What an agent signed, where its outbox kept only another rendering of it.
//!
//! Older outboxes store `created_at` rendered anew in UTC and drop the number of the signing key. Both are in the
//! signing hash. The possible originals are few (how many digits of a second, which offset, which of the agent's
//! keys), so they are tried, likely ones first, and **the signature decides**: what verifies is what was signed.

use std::collections::HashMap;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use ves::{AgentId, Event, Hash32, KeyRegistry, SignatureCheck, TenantId, Timestamp};

use crate::row::{Content, HeldRow};

/// How many digits of a second agents write, likely ones first; the stored number of digits comes before them.
const DIGITS: [usize; 10] = [3, 6, 9, 0, 1, 2, 4, 5, 7, 8];
/// Offsets from UTC are tried in steps of a quarter of an hour between these, in seconds.
const OFFSETS: std::ops::RangeInclusive<i32> = -12 * 3600..=14 * 3600;
const OFFSET_STEP: usize = 15 * 60;
/// So many signatures are tried at unlikely renderings, over all events together: rows that were tampered with
/// never verify, and must not take hours.
const BUDGET: u64 = 100_000;
/// So many keys of one agent are tried.
const MAX_KEYS: usize = 64;

/// An offset as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Written {
    Z,
    Seconds(i32),
}

/// Finds signed renderings again. It learns: an offset that an event was signed with is tried early for the next.
#[derive(Debug)]
pub struct RenderingSearch<'k> {
    keys: &'k KeyRegistry,
    /// Each agent's keys, once an event was asked for: an outbox of today's shape asks for none, and a fleet has as many
    /// keys as outboxes.
    by_agent: Option<HashMap<(TenantId, AgentId), Vec<u32>>>,
    learned: Vec<Written>,
    budget: u64,
    found: u64,
    not_found: u64,
}

/// The keys of each agent.
fn by_agent(keys: &KeyRegistry) -> HashMap<(TenantId, AgentId), Vec<u32>> {
    let mut by_agent: HashMap<_, Vec<u32>> = HashMap::new();
    for key in keys.iter() {
        let ids = by_agent.entry((key.tenant_id, key.agent_id)).or_default();
        ids.push(key.key_id);
    }
    for ids in by_agent.values_mut() {
        ids.sort_unstable();
        ids.truncate(MAX_KEYS);
    }
    by_agent
}

impl<'k> RenderingSearch<'k> {
    /// A search with these keys.
    pub fn new(keys: &'k KeyRegistry) -> Self {
        Self {
            keys,
            by_agent: None,
            learned: vec![Written::Z, Written::Seconds(0)],
            budget: BUDGET,
            found: 0,
            not_found: 0,
        }
    }

    /// How many events were found again.
    pub fn found(&self) -> u64 {
        self.found
    }

    /// How many were not: no rendering that was tried verifies, or no key of the agent is known.
    pub fn not_found(&self) -> u64 {
        self.not_found
    }

    /// Turns a row of an older outbox into one that holds the event as it was signed, if that can be found; says
    /// whether it did. Other rows stay as they are.
    pub fn resolve(&mut self, row: &mut HeldRow) -> bool {
        let Content::Rerendered(event) = &row.content else {
            return false;
        };
        match self.find(event) {
            Some(event) => {
                row.content = Content::Signed(Box::new(event));
                true
            }
            None => false,
        }
    }

    /// The event as it was signed. `created_at` may be any rendering of the instant; `agent_key_id` is not read.
    pub fn find(&mut self, event: &Event) -> Option<Event> {
        let keys = self.keys;
        let ids = self
            .by_agent
            .get_or_insert_with(|| by_agent(keys))
            .get(&(event.stream.tenant_id, event.source_agent_id))
            .cloned();
        let found = ids.and_then(|ids| self.search(event, &ids));
        self.count(found)
    }

    /// As [`RenderingSearch::find`], for an event whose `agent_key_id` is known, and of which somebody told what depends on
    /// its signing hash (a receipt's hash): `told` says whether a hash fits. What fits is taken, unless its signature can be
    /// checked and does not hold; if nothing fits, the signature alone decides.
    pub fn find_told(&mut self, event: &Event, told: impl Fn(&Hash32) -> bool) -> Option<Event> {
        let found = self.by_hash(event, told);
        let found = found.or_else(|| self.search(event, &[event.agent_key_id]));
        self.count(found)
    }

    fn count(&mut self, found: Option<Event>) -> Option<Event> {
        match found {
            Some(_) => self.found += 1,
            None => self.not_found += 1,
        }
        found
    }

    fn by_hash(&mut self, event: &Event, told: impl Fn(&Hash32) -> bool) -> Option<Event> {
        let instant = Instant::parse(&event.created_at)?;
        let mut candidate = event.clone();
        let others = OFFSETS.step_by(OFFSET_STEP).map(Written::Seconds);
        let all: Vec<Written> = self.learned.iter().copied().chain(others).collect();
        for written in all {
            for digits in instant.digits() {
                candidate.created_at = instant.render(written, digits)?;
                let hash = candidate.signing_hash();
                if !told(&hash) {
                    continue;
                }
                if self.keys.check(&candidate, &hash, Timestamp(0)) == SignatureCheck::Invalid {
                    return None;
                }
                if !self.learned.contains(&written) {
                    self.learned.push(written);
                }
                return Some(candidate);
            }
        }
        None
    }

    fn search(&mut self, event: &Event, ids: &[u32]) -> Option<Event> {
        let instant = Instant::parse(&event.created_at)?;
        let mut candidate = event.clone();
        for written in self.learned.clone() {
            if let Some(found) = self.try_offset(&mut candidate, &instant, written, ids) {
                return Some(found);
            }
        }
        for seconds in OFFSETS.step_by(OFFSET_STEP) {
            let written = Written::Seconds(seconds);
            if self.learned.contains(&written) {
                continue;
            }
            let cost = (DIGITS.len() * ids.len()) as u64;
            self.budget = self.budget.checked_sub(cost)?;
            if let Some(found) = self.try_offset(&mut candidate, &instant, written, ids) {
                self.learned.push(written);
                return Some(found);
            }
        }
        None
    }

    fn try_offset(
        &self,
        candidate: &mut Event,
        instant: &Instant,
        written: Written,
        ids: &[u32],
    ) -> Option<Event> {
        for digits in instant.digits() {
            candidate.created_at = instant.render(written, digits)?;
            for id in ids {
                candidate.agent_key_id = *id;
                let check = self
                    .keys
                    .check(candidate, &candidate.signing_hash(), Timestamp(0));
                // When the key was valid is another question.
                if matches!(check, SignatureCheck::Valid | SignatureCheck::KeyNotValid(_)) {
                    return Some(candidate.clone());
                }
            }
        }
        None
    }
}

/// A point in time with all digits that it was stored with.
struct Instant {
    time: jiff::Timestamp,
    /// Nine digits.
    fraction: String,
    stored_digits: usize,
    least_digits: usize,
}

impl Instant {
    fn parse(text: &str) -> Option<Self> {
        let time: jiff::Timestamp = text.parse().ok()?;
        let fraction = format!("{:09}", time.as_nanosecond().rem_euclid(1_000_000_000));
        let stored = text
            .split_once('.')
            .map_or(0, |(_, rest)| rest.bytes().take_while(u8::is_ascii_digit).count());
        let least_digits = fraction.trim_end_matches('0').len();
        Some(Self {
            time,
            stored_digits: stored.clamp(least_digits, 9),
            least_digits,
            fraction,
        })
    }

    /// How many digits of a second may have been written, likely ones first.
    fn digits(&self) -> impl Iterator<Item = usize> + use<> {
        let (stored, least) = (self.stored_digits, self.least_digits);
        let others = DIGITS.into_iter().filter(move |digits| *digits != stored);
        std::iter::once(stored)
            .chain(others)
            .filter(move |digits| *digits >= least)
    }

    fn render(&self, written: Written, digits: usize) -> Option<String> {
        let seconds = match written {
            Written::Z => 0,
            Written::Seconds(seconds) => seconds,
        };
        let local: DateTime = Offset::from_seconds(seconds).ok()?.to_datetime(self.time);
        let mut text = format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            local.year(),
            local.month(),
            local.day(),
            local.hour(),
            local.minute(),
            local.second()
        );
        if digits > 0 {
            text.push('.');
            text.push_str(self.fraction.get(..digits)?);
        }
        match written {
            Written::Z => text.push('Z'),
            Written::Seconds(seconds) => {
                let sign = if seconds < 0 { '-' } else { '+' };
                let minutes = seconds.unsigned_abs() / 60;
                text.push_str(&format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
            }
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renderings_are_of_the_same_instant() {
        let instant = Instant::parse("2026-03-01T10:00:00.120+00:00").unwrap();
        assert_eq!((instant.stored_digits, instant.least_digits), (3, 2));
        for (written, digits, text) in [
            (Written::Z, 3, "2026-03-01T10:00:00.120Z"),
            (Written::Z, 2, "2026-03-01T10:00:00.12Z"),
            (Written::Seconds(0), 6, "2026-03-01T10:00:00.120000+00:00"),
            (Written::Seconds(7200), 9, "2026-03-01T12:00:00.120000000+02:00"),
            (Written::Seconds(-34200), 3, "2026-03-01T00:30:00.120-09:30"),
        ] {
            assert_eq!(instant.render(written, digits).unwrap(), text);
            let time = |text: &str| text.parse::<jiff::Timestamp>().unwrap();
            assert_eq!(time(text), time("2026-03-01T10:00:00.12Z"));
        }
        let whole = Instant::parse("2026-03-01T10:00:00+00:00").unwrap();
        assert_eq!(whole.render(Written::Z, 0).unwrap(), "2026-03-01T10:00:00Z");
        assert!(Instant::parse("yesterday").is_none());
    }
}
