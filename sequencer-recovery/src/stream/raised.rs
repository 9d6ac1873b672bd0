//! Counters that stand where this toolkit put them. A counter is evidence of what the sequencer gave out; what we wrote
//! there ourselves is worth no more than what it rested on.

use std::collections::HashSet;

use event_log::{JournalEntry, JournalState, StreamFilter, View};
use serde::Serialize;
use ves::{Hash32, StreamKey, Timestamp};

use crate::error::RecoveryError;
use crate::floor::Witness;
use crate::grade::Grade;

/// Who speaks through a counter that the sequencer left.
pub(super) const COUNTER_WITNESS: &str = "the log's counter";

/// How a counter came to stand where it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Raised {
    /// The plan that raised it last, or what stands for one if the counters alone were raised.
    pub plan_id: Hash32,
    /// Whether the counters alone were raised.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub counters_only: bool,
    /// When.
    pub written_at: Timestamp,
    /// The counter as the sequencer left it; `None` if its row was missing.
    pub before: Option<u64>,
    /// What the raised value rested on.
    pub grade: Grade,
}

impl Raised {
    /// Reads from the journal whether a stream's counter stands where this toolkit put it.
    ///
    /// # Errors
    /// What the log's database says.
    pub(crate) async fn of(
        view: &mut View,
        stream: &StreamKey,
        counter: Option<u64>,
    ) -> Result<Option<Self>, RecoveryError> {
        let Some(counter) = counter else {
            return Ok(None);
        };
        // An entry that cannot be read tells nothing, and the audit names it.
        let newest = view
            .journal_newest(&StreamFilter::from(stream), ENTRIES)
            .await?
            .rows;
        Ok(Self::from_entries(counter, &newest))
    }

    /// The same from entries, newest first.
    fn from_entries(counter: u64, newest: &[JournalEntry]) -> Option<Self> {
        let mut raised: Option<Self> = None;
        let mut stands = Some(counter);
        let mut undone = HashSet::new();
        for entry in newest {
            if entry.state == JournalState::Undone {
                undone.insert(entry.plan_id);
                continue;
            }
            // What was taken back left nothing.
            if undone.remove(&entry.plan_id) {
                continue;
            }
            // The sequencer went on from there, and everything below is its own word.
            if entry.counter_after != stands {
                break;
            }
            if entry.counter_before != entry.counter_after {
                let before = raised.get_or_insert_with(|| Self {
                    plan_id: entry.plan_id,
                    counters_only: entry.counts.counters_only,
                    written_at: entry.written_at,
                    before: None,
                    grade: grade(entry),
                });
                before.before = entry.counter_before;
            }
            stands = entry.counter_before;
        }
        raised
    }

    /// Who says that the number was given out.
    pub fn who(&self) -> String {
        let what = if self.counters_only {
            "this toolkit, which raised the counters alone".to_owned()
        } else {
            format!(
                "plan {}, which raised the counter",
                &self.plan_id.to_string()[..12]
            )
        };
        format!("{what} at {}", self.written_at)
    }
}

/// How far back the journal of a stream is read.
const ENTRIES: u32 = 1000;

/// What an entry says that its counter rested on; an older release did not say.
fn grade(entry: &JournalEntry) -> Grade {
    let said = entry.counts.counter_grade.as_deref();
    let known = [
        Grade::Proven,
        Grade::Checkpointed,
        Grade::Receipted,
        Grade::Committed,
        Grade::Corroborated,
    ];
    known
        .into_iter()
        .find(|grade| Some(grade.as_str()) == said)
        .unwrap_or(Grade::Claimed)
}

/// What a counter says: the sequencer's own word, and beside it what we wrote.
pub(super) fn counter_witnesses(counter: Option<u64>, raised: Option<&Raised>) -> Vec<Witness> {
    let witness = |sequence, grade, who| Witness {
        sequence,
        grade,
        who,
        identity: String::new(),
    };
    let own = raised.map_or(counter, |raised| raised.before);
    let own = own.map(|number| witness(number, Grade::Committed, COUNTER_WITNESS.to_owned()));
    let written = raised.zip(counter);
    let written = written.map(|(raised, number)| witness(number, raised.grade, raised.who()));
    own.into_iter()
        .chain(written)
        .filter(|w| w.sequence > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use event_log::JournalCounts;
    use uuid::Uuid;

    use super::*;

    fn entry(plan: u8, state: JournalState, before: u64, after: u64, grade: &str) -> JournalEntry {
        JournalEntry {
            written_at: Timestamp(i64::from(plan)),
            state,
            plan_id: Hash32([plan; 32]),
            stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into()),
            tool: "test".into(),
            counter_before: Some(before),
            counter_after: Some(after),
            counts: JournalCounts {
                counter_grade: Some(grade.into()),
                ..JournalCounts::default()
            },
        }
    }

    #[test]
    fn what_we_wrote_is_worth_what_it_rested_on() {
        use JournalState::{Applied, Undone};
        let told = |counter, entries: &[JournalEntry]| {
            let raised = Raised::from_entries(counter, entries);
            let said = counter_witnesses(Some(counter), raised.as_ref());
            said.iter().map(|w| (w.sequence, w.grade)).collect::<Vec<_>>()
        };
        let first = entry(1, Applied, 21, 51, "claimed");
        let nothing_more = entry(2, Applied, 51, 51, "claimed");
        let claimed = [(21, Grade::Committed), (51, Grade::Claimed)];
        assert_eq!(told(51, std::slice::from_ref(&first)), claimed);
        assert_eq!(told(51, &[nothing_more, first.clone()]), claimed);
        // Twice raised: the sequencer's own number is the one before the first.
        let higher = entry(3, Applied, 51, 60, "receipted");
        assert_eq!(
            told(60, &[higher, first.clone()]),
            [(21, Grade::Committed), (60, Grade::Receipted)]
        );
        // The sequencer went on, or what we wrote was taken back: its own word.
        assert_eq!(told(52, std::slice::from_ref(&first)), [(52, Grade::Committed)]);
        let back = entry(1, Undone, 51, 21, "claimed");
        assert_eq!(told(21, &[back.clone(), first.clone()]), [(21, Grade::Committed)]);
        assert_eq!(
            told(51, &[first.clone(), back, first.clone()]),
            claimed,
            "applied, taken back, applied again"
        );
        // A row that was missing was nobody's word.
        let made = JournalEntry {
            counter_before: None,
            ..first
        };
        assert_eq!(told(51, &[made]), [(51, Grade::Claimed)]);
    }
}
