//! Which problems are open. An alarm is raised once, when a problem is seen first, and ends when the same look that would
//! find it does not any more.

use std::collections::BTreeMap;

use serde::Serialize;
use ves::StreamKey;
use ves::span::Span;

use crate::finding::{Code, Finding, Severity};

/// Which look found a problem: only the same can say that it is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlarmSource {
    /// Heads and counters beside what is remembered.
    Heads,
    /// Rows of events, and batches.
    Rows,
    /// Which numbers are there.
    Holes,
    /// Anchors beside each other, and whether they can be read.
    Anchors,
    /// Anchors behind a stream's last number.
    AnchoredTail,
    /// Agents' outboxes beside the log.
    Outboxes,
    /// Checkpoints that were to be signed.
    Checkpoints,
    /// The log as a whole.
    Log,
}

impl AlarmSource {
    const ALL: [Self; 8] = [
        Self::Heads,
        Self::Rows,
        Self::Holes,
        Self::Anchors,
        Self::AnchoredTail,
        Self::Outboxes,
        Self::Checkpoints,
        Self::Log,
    ];

    /// Its name in files and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Heads => "heads",
            Self::Rows => "rows",
            Self::Holes => "holes",
            Self::Anchors => "anchors",
            Self::AnchoredTail => "anchored_tail",
            Self::Outboxes => "outboxes",
            Self::Checkpoints => "checkpoints",
            Self::Log => "log",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|source| source.as_str() == name)
    }
}

/// A problem that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alarm {
    /// Which look found it.
    pub source: AlarmSource,
    /// What it is.
    #[serde(flatten)]
    pub finding: Finding,
    /// When it was seen first, by the clock of the host: RFC 3339, UTC.
    pub opened_at: String,
}

/// One problem seen twice is one alarm: what it is, and where it begins. Its words and its end may change.
type Key = (AlarmSource, Code, Option<StreamKey>, Option<u64>);

fn key(source: AlarmSource, finding: &Finding) -> Key {
    (source, finding.code, finding.stream, finding.from)
}

/// What a look was at: what it did not find there is gone.
#[derive(Debug, Clone, Copy)]
pub struct Scope {
    /// Which look.
    pub source: AlarmSource,
    /// Which stream; without one, all of them and the log itself.
    pub stream: Option<StreamKey>,
    /// Which numbers of it; without them, all.
    pub span: Option<Span>,
}

impl Scope {
    /// Of everything that a look looks at.
    pub fn all(source: AlarmSource) -> Self {
        Self {
            source,
            stream: None,
            span: None,
        }
    }

    /// Of a stream.
    pub fn stream(source: AlarmSource, stream: StreamKey) -> Self {
        Self {
            stream: Some(stream),
            ..Self::all(source)
        }
    }

    fn contains(&self, alarm: &Alarm) -> bool {
        let finding = &alarm.finding;
        if alarm.source != self.source || (self.stream.is_some() && finding.stream != self.stream) {
            return false;
        }
        let Some(span) = self.span else { return true };
        match (finding.from, finding.to) {
            (Some(from), Some(to)) => Span::new(from, to).is_some_and(|of| span.covers(of)),
            // Somewhere in the stream: any look at its rows that does not find it again is as good as another.
            _ => true,
        }
    }
}

/// What a look changed.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Alarms that were raised.
    pub raised: Vec<Alarm>,
    /// Alarms that ended.
    pub ended: Vec<Alarm>,
}

impl Changes {
    /// Adds what another look changed.
    pub fn extend(&mut self, other: Changes) {
        self.raised.extend(other.raised);
        self.ended.extend(other.ended);
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Alarms {
    open: BTreeMap<Key, Alarm>,
}

impl Alarms {
    /// Those that were open when the last run ended.
    pub fn of(alarms: Vec<Alarm>) -> Self {
        let open = alarms
            .into_iter()
            .map(|alarm| (key(alarm.source, &alarm.finding), alarm));
        Self { open: open.collect() }
    }

    /// Those that are open.
    pub fn open(&self) -> impl Iterator<Item = &Alarm> {
        self.open.values()
    }

    /// Takes what a look found. Notices raise no alarm.
    pub fn settle(&mut self, scope: &Scope, found: Vec<Finding>, now: &str) -> Changes {
        let mut changes = Changes::default();
        let problems = found.into_iter().filter(|f| f.severity == Severity::Problem);
        let mut found: BTreeMap<Key, Finding> = problems.map(|f| (key(scope.source, &f), f)).collect();
        let gone: Vec<Key> = self
            .open
            .iter()
            .filter(|(key, alarm)| scope.contains(alarm) && !found.contains_key(key))
            .map(|(key, _)| *key)
            .collect();
        for key in gone {
            changes.ended.extend(self.open.remove(&key));
        }
        for (key, alarm) in &mut self.open {
            if let Some(finding) = found.remove(key) {
                alarm.finding = finding;
            }
        }
        for (key, finding) in found {
            let alarm = Alarm {
                source: scope.source,
                finding,
                opened_at: now.to_owned(),
            };
            changes.raised.push(alarm.clone());
            self.open.insert(key, alarm);
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ves::{StoreId, TenantId};

    fn stream(n: u128) -> StreamKey {
        StreamKey {
            tenant_id: TenantId(uuid::Uuid::from_u128(1)),
            store_id: StoreId(uuid::Uuid::from_u128(n)),
        }
    }

    fn hole(n: u128, from: u64, to: u64) -> Finding {
        Finding::new(Code::GapInterior, "missing")
            .stream(stream(n))
            .range(from, to)
    }

    #[test]
    fn an_alarm_is_raised_once_and_ends_once() {
        let mut alarms = Alarms::default();
        let all = Scope::stream(AlarmSource::Holes, stream(1));
        let raised = alarms.settle(&all, vec![hole(1, 5, 9)], "t1");
        assert_eq!((raised.raised.len(), raised.ended.len()), (1, 0));
        // It grew: the same alarm.
        let again = alarms.settle(&all, vec![hole(1, 5, 12)], "t2");
        assert!(again.raised.is_empty() && again.ended.is_empty());
        let open: Vec<&Alarm> = alarms.open().collect();
        assert_eq!((open[0].finding.to, open[0].opened_at.as_str()), (Some(12), "t1"));
        let ended = alarms.settle(&all, Vec::new(), "t3").ended;
        assert_eq!(ended.len(), 1);
        assert_eq!(alarms.open().count(), 0);
        assert!(alarms.settle(&all, Vec::new(), "t4").ended.is_empty());
    }

    #[test]
    fn only_a_look_at_the_same_place_ends_an_alarm() {
        let mut alarms = Alarms::default();
        alarms.settle(
            &Scope::stream(AlarmSource::Rows, stream(1)),
            vec![hole(1, 5, 9)],
            "t1",
        );
        let elsewhere = [
            Scope::stream(AlarmSource::Holes, stream(1)),
            Scope::stream(AlarmSource::Rows, stream(2)),
            Scope {
                span: Span::new(1, 8),
                ..Scope::stream(AlarmSource::Rows, stream(1))
            },
        ];
        for scope in &elsewhere {
            assert!(
                alarms.settle(scope, Vec::new(), "t2").ended.is_empty(),
                "{scope:?}"
            );
        }
        let here = Scope {
            span: Span::new(5, 9),
            ..Scope::stream(AlarmSource::Rows, stream(1))
        };
        assert_eq!(alarms.settle(&here, Vec::new(), "t3").ended.len(), 1);
    }

    #[test]
    fn notices_are_no_alarms() {
        let mut alarms = Alarms::default();
        let notice = Finding::new(Code::EventTombstone, "filled").stream(stream(1));
        let changes = alarms.settle(&Scope::all(AlarmSource::Rows), vec![notice], "t1");
        assert!(changes.raised.is_empty() && alarms.open().count() == 0);
    }
}
