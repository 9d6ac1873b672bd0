//! One line of the checklist: a question, what was found, and what to do.

use std::fmt;
use std::str::FromStr;

use cli_common::Next;
use serde::{Serialize, Serializer};

macro_rules! lines {
    ($($(#[doc = $doc:literal])+ $variant:ident = $id:literal;)+) => {
        /// The stable name of a line, as docs/checklist.md lists it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum LineId {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl LineId {
            /// Every line, in the order in which they are told.
            pub const ALL: &'static [LineId] = &[$(LineId::$variant),+];

            /// The dotted name.
            pub const fn as_str(self) -> &'static str {
                match self { $(LineId::$variant => $id),+ }
            }

            /// The question.
            pub const fn question(self) -> &'static str {
                match self { $(LineId::$variant => concat!($($doc),+).trim_ascii()),+ }
            }
        }
    };
}

lines! {
    /// Does the sequencer say that it is healthy?
    ServiceHealth = "service.health";
    /// Does the sequencer say that it is ready, with its database connected?
    ServiceReady = "service.ready";
    /// Does the database take writes, its recovery ended?
    DatabaseWritable = "database.writable";
    /// Does every index that is read have what its table has, and is no row there twice?
    DatabaseIndexes = "database.indexes";
    /// Does nothing of others in the database stand in the way of what the sequencer writes?
    DatabaseRules = "database.rules";
    /// Does every counter stand at the highest number that was given out?
    CountersFloor = "counters.floor";
    /// Is every number that was given out filled?
    NumbersWhole = "numbers.whole";
    /// Was no number given out twice?
    NumbersOnce = "numbers.once";
    /// Can every event be read in order, from 1 to the head, its hashes those of its content?
    HistoryReadable = "history.readable";
    /// Does every event bear its agent's signature, by a key that was valid?
    HistorySigned = "history.signed";
    /// Does every event have its receipt, and each receipt its event's number and hash?
    ReceiptsWhole = "receipts.whole";
    /// Is every receipt signed by a sequencer key that is known?
    ReceiptsSigned = "receipts.signed";
    /// Do command ids, entity versions, projections and proofs follow from the events?
    BookkeepingAgrees = "bookkeeping.agrees";
    /// Does every commitment hold: its root, its state root, its place in the chain?
    CommitmentsHold = "commitments.hold";
    /// Can every stream be committed further?
    CommitmentsGoOn = "commitments.go_on";
    /// Do the events give the roots that were anchored?
    AnchorsMatch = "anchors.match";
    /// Could every witness be read to its end?
    WitnessesRead = "witnesses.read";
    /// Was every agent heard that has events or keys in the log?
    AgentsHeard = "agents.heard";
    /// Is there a backup, young enough?
    BackupAge = "backup.age";
    /// Is no alert firing?
    AlertsQuiet = "alerts.quiet";
}

impl fmt::Display for LineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for LineId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|id| id.as_str() == text);
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.iter().map(|id| id.as_str()).collect();
            format!("no line is named so; there are {} and all", known.join(", "))
        })
    }
}

impl Serialize for LineId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// What came of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum LineVerdict {
    /// The answer is yes.
    #[serde(rename = "PASS")]
    Pass,
    /// The answer is no, or it could not be had and was required.
    #[serde(rename = "FAIL")]
    Fail,
    /// Nobody looked, or not closely enough for a yes.
    #[serde(rename = "NOT CHECKED")]
    NotChecked,
}

impl LineVerdict {
    /// The words that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            LineVerdict::Pass => "PASS",
            LineVerdict::Fail => "FAIL",
            LineVerdict::NotChecked => "NOT CHECKED",
        }
    }
}

/// What to do about a line; whoever knows the command line writes it out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// To plan the repair.
    Plan,
    /// To plan again, filling what stays open with tombstones; what comes before it.
    Fill(String),
    /// To plan the repair with the choice of the history that stays.
    ChooseHistory,
    /// To look at the log thoroughly.
    Audit,
    /// To run the checklist again with these options too; why.
    Again(String, Vec<String>),
    /// Another tool's command, word by word; why.
    Run(String, Vec<String>),
    /// A command as it stands; why.
    Command(String, String),
    /// No command helps.
    Say(String),
}

/// One line.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// Its name.
    pub id: LineId,
    /// The question.
    pub question: &'static str,
    /// What came of it.
    pub verdict: LineVerdict,
    /// Why it was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether it was asked for and could not be looked at.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub could_not: bool,
    /// Whether `--require` made a failure of what was not checked.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub required: bool,
    /// What was seen, with figures.
    pub evidence: Vec<String>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
    /// The same, not written out yet.
    #[serde(skip)]
    pub step: Option<Step>,
}

impl Line {
    fn new(id: LineId, verdict: LineVerdict) -> Self {
        Self {
            id,
            question: id.question(),
            verdict,
            reason: None,
            could_not: false,
            required: false,
            evidence: Vec::new(),
            next: None,
            step: None,
        }
    }

    /// The answer is yes, by this.
    pub fn pass(id: LineId, evidence: impl Into<String>) -> Self {
        Self::new(id, LineVerdict::Pass).seen(evidence)
    }

    /// The answer is no, by this.
    pub fn fail(id: LineId, evidence: impl Into<String>) -> Self {
        Self::new(id, LineVerdict::Fail).seen(evidence)
    }

    /// Nobody looked: it was not asked for, or there is nothing to look at.
    pub fn not_checked(id: LineId, reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            ..Self::new(id, LineVerdict::NotChecked)
        }
    }

    /// It was asked for, and could not be looked at.
    pub fn could_not(id: LineId, reason: impl Into<String>) -> Self {
        Self {
            could_not: true,
            ..Self::not_checked(id, reason)
        }
    }

    /// Adds what was seen.
    #[must_use]
    pub fn seen(mut self, evidence: impl Into<String>) -> Self {
        self.evidence.push(evidence.into());
        self
    }

    /// Says what to do about it.
    #[must_use]
    pub fn step(mut self, step: Step) -> Self {
        self.step = Some(step);
        self
    }

    /// Makes a failure of what was not checked.
    pub(super) fn require(&mut self) {
        if self.verdict == LineVerdict::NotChecked {
            self.verdict = LineVerdict::Fail;
            self.required = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_again() {
        let mut seen = std::collections::BTreeSet::new();
        for id in LineId::ALL {
            assert!(seen.insert(id.as_str()), "{id} twice");
            assert_eq!(id.as_str().parse(), Ok(*id));
            assert!(id.question().ends_with('?'), "{id}");
        }
        assert!("counters".parse::<LineId>().is_err());
    }

    #[test]
    fn the_documentation_lists_every_line_with_its_question() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/checklist.md");
        let text = std::fs::read_to_string(path).unwrap();
        for id in LineId::ALL {
            let row = format!("| `{id}` | {} |", id.question());
            assert!(text.contains(&row), "docs/checklist.md lacks the row\n{row}");
        }
    }

    #[test]
    fn what_is_required_and_not_checked_fails_and_says_so() {
        let mut line = Line::not_checked(LineId::BackupAge, "nobody was asked");
        line.require();
        assert_eq!((line.verdict, line.required), (LineVerdict::Fail, true));
        let mut line = Line::pass(LineId::BackupAge, "young");
        line.require();
        assert_eq!((line.verdict, line.required), (LineVerdict::Pass, false));
    }
}
