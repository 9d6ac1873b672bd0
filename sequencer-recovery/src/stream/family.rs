//! The sequences beside the VES log: the older `events` log and the x402 payment intents. Their numbers and counters
//! are audited, and the counters raised by the same floor rule. Their content is out of scope, and reports say so.

use std::fmt;
use std::str::FromStr;

pub use event_log::Family;
use event_log::{FamilyState, StreamFilter, View};
use serde::Serialize;
use ves::StreamKey;

use crate::error::RecoveryError;
use crate::finding::{Code, Finding, Remedy};
use crate::floor::{self, FloorChoice, Witness};
use crate::gap::{self, Gap, GapKind};
use crate::grade::Grade;

/// Which sequences to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// The VES log.
    #[default]
    Ves,
    /// One of those beside it.
    Only(Family),
    /// All.
    All,
}

impl Families {
    /// Whether the VES log is among them.
    pub fn ves(self) -> bool {
        !matches!(self, Families::Only(_))
    }

    /// Those beside the VES log.
    pub fn others(self) -> &'static [Family] {
        match self {
            Families::Ves => &[],
            Families::Only(Family::Events) => &[Family::Events],
            Families::Only(Family::X402) => &[Family::X402],
            Families::All => &[Family::Events, Family::X402],
        }
    }

    /// What is said of the families that are not among them.
    pub fn not_asked_for(self) -> Option<String> {
        let ves = "the VES log (--family all)";
        let what = match self {
            Families::Ves => "the older events log and the x402 payment intents (--family all)",
            Families::Only(_) => ves,
            Families::All => return None,
        };
        Some(format!("what was not asked for: {what}"))
    }
}

impl fmt::Display for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Families::Ves => "ves",
            Families::Only(family) => family.as_str(),
            Families::All => "all",
        })
    }
}

impl FromStr for Families {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "ves" => Ok(Families::Ves),
            "events" => Ok(Families::Only(Family::Events)),
            "x402" => Ok(Families::Only(Family::X402)),
            "all" => Ok(Families::All),
            _ => Err(format!("{s:?} is none of ves, events, x402, all")),
        }
    }
}

/// What an audit says of a family.
#[derive(Debug, Serialize)]
pub struct FamilyReport {
    /// `events` or `x402`.
    pub family: Family,
    /// The streams, by tenant and store.
    pub streams: Vec<FamilyStream>,
}

/// One stream of a family.
#[derive(Debug, Serialize)]
pub struct FamilyStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// How many numbered rows there are.
    pub rows: u64,
    /// The first number.
    pub first: Option<u64>,
    /// The last number.
    pub head: Option<u64>,
    /// The counter; `None` if its row is missing.
    pub counter: Option<u64>,
    /// The highest number that the database knows, and by what.
    pub head_known: Option<Witness>,
    /// How many numbers are missing.
    pub missing: u64,
    /// Which.
    pub gaps: Vec<Gap>,
    /// Everything that knows of a number.
    pub witnesses: Vec<Witness>,
}

/// A family, looked at.
pub(crate) struct Looked {
    pub(crate) streams: Vec<FamilyState>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) not_checked: Vec<String>,
}

/// Looks at a family's streams, and says what of it is not looked at.
pub(crate) async fn look(
    view: &mut View,
    family: Family,
    filter: &StreamFilter,
) -> Result<Looked, RecoveryError> {
    let found = view.family_streams(family, filter).await?;
    let unreadable = found.streams.unreadable.iter();
    let findings = unreadable.map(|e| Finding::new(Code::EventUnreadable, e.to_string()));
    let mut not_checked: Vec<String> = found
        .missing
        .iter()
        .map(|table| {
            let lost = match *table == family.table() || *table == family.counter_table() {
                true => format!("nothing of family {family} was looked at"),
                false => "its numbers are not known".into(),
            };
            format!("{family}: table {table} is not there, or not as expected: {lost}")
        })
        .collect();
    not_checked.push(match family {
        Family::Events => {
            "events: payloads, signatures, roots and command ids of the older log: its content is neither \
                           verified nor repaired, and what outboxes and the chain know of it is not heard"
                .into()
        }
        Family::X402 => {
            "x402: the payment intents themselves: their content is neither verified nor repaired, and \
                         nobody but this database was asked for their numbers"
                .into()
        }
    });
    Ok(Looked {
        findings: findings.collect(),
        streams: found.streams.rows,
        not_checked,
    })
}

/// What knows of a number of a stream. All of it is this database's own.
pub fn witnesses(family: Family, state: &FamilyState) -> Vec<Witness> {
    let all = [
        (state.last, format!("the rows of {}", family.table())),
        (state.counter, counter_witness(family)),
        (state.last_committed, "the older log's commitments".into()),
    ];
    all.into_iter()
        .filter_map(|(sequence, who)| {
            let sequence = sequence.filter(|s| *s > 0)?;
            Some(Witness {
                sequence,
                grade: Grade::Committed,
                who,
                identity: String::new(),
            })
        })
        .collect()
}

fn counter_witness(family: Family) -> String {
    format!("the counter ({})", family.counter_table())
}

/// Audits a family: gaps and counters.
pub(crate) async fn audit(
    view: &mut View,
    family: Family,
    filter: &StreamFilter,
    not_checked: &mut Vec<String>,
    findings: &mut Vec<Finding>,
) -> Result<FamilyReport, RecoveryError> {
    let looked = look(view, family, filter).await?;
    findings.extend(looked.findings);
    not_checked.extend(looked.not_checked);
    let mut streams = Vec::new();
    for state in looked.streams {
        let witnesses = witnesses(family, &state);
        let highest = floor::floor(&witnesses, FloorChoice::default()).ok().flatten();
        let head_known = highest.map(|f| f.witness);
        let present = view.family_ranges(family, &state).await?;
        let gaps = gap::gaps(&present, head_known.as_ref().map_or(0, |w| w.sequence));
        findings.extend(judge(family, &state, &witnesses, &gaps));
        streams.push(FamilyStream {
            stream: state.stream,
            rows: state.count,
            first: state.first,
            head: state.last,
            counter: state.counter,
            head_known,
            missing: gaps.iter().map(Gap::count).fold(0, u64::saturating_add),
            gaps,
            witnesses,
        });
    }
    Ok(FamilyReport { family, streams })
}

/// More gaps than this are told together.
const LISTED_GAPS: usize = 200;

fn judge(family: Family, state: &FamilyState, witnesses: &[Witness], gaps: &[Gap]) -> Vec<Finding> {
    let finding = |code, message: String| {
        Finding::new(code, format!("{family}: {message}"))
            .stream(state.stream)
            .family(family)
    };
    let mut findings = Vec::new();
    if state.misnumbered > 0 {
        let message = format!("{} row(s) have a number below 1", state.misnumbered);
        findings.push(finding(Code::EventUnreadable, message).count(state.misnumbered));
    }
    for gap in gaps.iter().take(LISTED_GAPS) {
        let (code, what) = match gap.kind {
            GapKind::Leading => (Code::GapLeading, "are missing at the start"),
            GapKind::Interior => (Code::GapInterior, "are missing"),
            GapKind::Tail => (Code::GapTail, "after the last row were given out"),
        };
        let message = format!("{} number(s) {what}", gap.count());
        findings.push(finding(code, message).range(gap.from, gap.to));
    }
    if let Some((first, last)) = gaps.get(LISTED_GAPS).zip(gaps.last()) {
        let rest = &gaps[LISTED_GAPS..];
        let count = rest.iter().map(Gap::count).fold(0, u64::saturating_add);
        let message = format!("{} more gaps with {count} missing number(s)", rest.len());
        let more = finding(Code::GapInterior, message).range(first.from, last.to);
        findings.push(more.count(count));
    }
    let others = witnesses.iter().filter(|w| w.who != counter_witness(family));
    let highest = others.max_by_key(|w| w.sequence);
    let counter = match (state.counter, highest) {
        (None, Some(w)) => {
            let message = format!("there is no counter; {} is known to {}", w.sequence, w.who);
            Some(finding(Code::CounterMissing, message))
        }
        (Some(counter), Some(w)) if counter < w.sequence => {
            let message = format!(
                "the counter is {counter}, and {} is known to {}",
                w.sequence, w.who
            );
            Some(finding(Code::CounterBehind, message).range(counter + 1, w.sequence))
        }
        (Some(counter), w) if counter > w.map_or(0, |w| w.sequence) => {
            let highest = w.map_or(0, |w| w.sequence);
            let message =
                format!("the counter is {counter}, and nothing else knows of a number above {highest}");
            Some(finding(Code::CounterAhead, message).range(highest + 1, counter))
        }
        _ => None,
    };
    findings.extend(counter.map(|finding| match finding.code {
        // A counter is never lowered.
        Code::CounterAhead => finding,
        _ => finding.remedy(Remedy::Counters),
    }));
    findings
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn state(count: u64, first: u64, last: u64, counter: Option<u64>, committed: Option<u64>) -> FamilyState {
        FamilyState {
            stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into()),
            count,
            first: Some(first).filter(|n| *n > 0),
            last: Some(last).filter(|n| *n > 0),
            misnumbered: 0,
            counter,
            commitment_count: committed.map_or(0, |_| 1),
            last_committed: committed,
        }
    }

    fn codes(state: &FamilyState) -> Vec<&'static str> {
        let witnesses = witnesses(Family::Events, state);
        let head = witnesses.iter().map(|w| w.sequence).max().unwrap_or(0);
        let present: Vec<_> = state
            .first
            .zip(state.last)
            .map(|(a, b)| a..=b)
            .into_iter()
            .collect();
        let gaps = gap::gaps(&present, head);
        let findings = judge(Family::Events, state, &witnesses, &gaps);
        findings.iter().map(|f| f.code.as_str()).collect()
    }

    #[test]
    fn counters_are_judged_by_rows_and_commitments() {
        assert_eq!(codes(&state(5, 1, 5, Some(5), None)), [""; 0]);
        assert_eq!(codes(&state(5, 1, 5, Some(4), None)), ["counter.behind"]);
        assert_eq!(codes(&state(5, 1, 5, None, None)), ["counter.missing"]);
        assert_eq!(
            codes(&state(5, 1, 5, Some(7), None)),
            ["gap.tail", "counter.ahead"]
        );
        assert_eq!(
            codes(&state(5, 1, 5, Some(5), Some(8))),
            ["gap.tail", "counter.behind"]
        );
        assert_eq!(codes(&state(2, 4, 5, Some(5), None)), ["gap.leading"]);
        assert_eq!(
            codes(&state(0, 0, 0, Some(3), None)),
            ["gap.tail", "counter.ahead"]
        );
        assert_eq!(codes(&state(0, 0, 0, Some(0), None)), [""; 0]);
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        for name in ["ves", "events", "x402", "all"] {
            assert_eq!(name.parse::<Families>().unwrap().to_string(), name);
        }
        assert!("ves_events".parse::<Families>().is_err());
        assert!(Families::default().ves() && Families::default().others().is_empty());
        assert!(Families::All.not_asked_for().is_none());
    }
}
