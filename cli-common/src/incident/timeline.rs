//! What happened in an incident, a line of JSON each, in the order in which it was noted. Each line tells the SHA-256 of the
//! line before it: what is changed, taken out or put in later is found. (Whoever can write the folder can write all of it
//! anew: only the signed manifest of a closed incident binds it.)

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// One entry of the timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which one: 1, 2, 3, by its place in the file.
    pub n: u64,
    /// SHA-256 of the line before, without its end, in hex; zeros in the first.
    pub previous: String,
    /// When it was noted, by the clock of the host: RFC 3339, UTC.
    pub at: String,
    /// What happened.
    #[serde(flatten)]
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Happening {
    /// The incident's folder was made.
    Opened {
        /// What the incident is about.
        title: String,
    },
    /// Somebody told something.
    Note {
        /// When that was.
        happened_at: String,
        /// What.
        text: String,
        /// Whether somebody stepped in by hand.
        intervention: bool,
    },
    /// A moment that times are measured from or to.
    Moment {
        /// Which.
        moment: Moment,
        /// When it was.
        happened_at: String,
        /// What there is to say of it.
        text: String,
    },
    /// A command was started.
    Began {
        /// `sequencer-recovery`.
        tool: String,
        /// The tool's version.
        version: String,
        /// The commit that it was built from.
        commit: Option<String>,
        /// `audit`.
        command: String,
        /// The command line, without secrets.
        line: String,
    },
    /// A command ended.
    Ended {
        /// The entry of its beginning.
        began: u64,
        /// `audit`.
        command: String,
        /// Its exit status.
        status: u8,
        /// What it failed with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<String>,
        /// What came of it.
        evidence: Vec<Evidence>,
    },
    /// The incident was closed.
    Closed {
        /// How many files its manifest names.
        files: u64,
    },
}

/// Moments that times are measured from or to, as far as commands do not tell them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// Nothing could be taken in any more: RTO is measured from here, and RPO back from here
    OutageBegan,
    /// The restore of the database was begun
    RestoreBegan,
    /// The database was restored and took connections
    RestoreEnded,
    /// The sequencer was started on the repaired log: RTO is measured to here
    SequencerStarted,
    /// Agents could push again
    ServiceRestored,
}

impl Moment {
    /// All, in the order in which they happen.
    pub const ALL: [Self; 5] = [
        Self::OutageBegan,
        Self::RestoreBegan,
        Self::RestoreEnded,
        Self::SequencerStarted,
        Self::ServiceRestored,
    ];

    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutageBegan => "outage-began",
            Self::RestoreBegan => "restore-began",
            Self::RestoreEnded => "restore-ended",
            Self::SequencerStarted => "sequencer-started",
            Self::ServiceRestored => "service-restored",
        }
    }
}

/// A file that a command made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// What it is: `report`, `plan`, `undo`.
    pub role: String,
    /// Its name in the incident's folder; of a file that was left where it is, the name that it has there.
    pub path: String,
    /// Its length in bytes.
    pub bytes: u64,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Whether it lies in the incident's folder.
    pub kept: bool,
}

/// What is wrong with a timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimelineFault {
    /// This line is no entry: it was cut off, or changed.
    Unreadable {
        /// Counted from 1.
        line: u64,
    },
    /// This line does not go on from the one before it: one of both was changed, or some are missing or too many.
    Chain {
        /// Counted from 1.
        line: u64,
    },
}

impl std::fmt::Display for TimelineFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unreadable { line } => write!(
                f,
                "line {line} of the timeline is no entry: it was cut off or changed"
            ),
            Self::Chain { line } => {
                write!(
                    f,
                    "line {line} of the timeline does not go on from the line before it"
                )
            }
        }
    }
}

/// A timeline, as far as it can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timeline {
    /// The entries, in order.
    pub entries: Vec<Entry>,
    /// What is wrong.
    pub faults: Vec<TimelineFault>,
    lines: u64,
    last: String,
}

/// What the first entry has for the hash of the line before it.
const NO_LINE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Timeline {
    /// Reads a timeline.
    #[must_use]
    pub fn read(text: &[u8]) -> Self {
        let mut timeline = Self {
            last: NO_LINE.into(),
            ..Self::default()
        };
        for line in text.split(|&byte| byte == b'\n') {
            if line.is_empty() {
                continue;
            }
            timeline.lines += 1;
            let number = timeline.lines;
            match serde_json::from_slice::<Entry>(line) {
                Ok(entry) => {
                    if entry.previous != timeline.last || entry.n != number {
                        timeline.faults.push(TimelineFault::Chain { line: number });
                    }
                    timeline.entries.push(entry);
                }
                Err(_) => timeline.faults.push(TimelineFault::Unreadable { line: number }),
            }
            timeline.last = hex::encode(Sha256::digest(line));
        }
        timeline
    }

    /// The entry that follows the last one, noted now.
    #[must_use]
    pub fn following(&self, what: Happening) -> Entry {
        Entry {
            n: self.lines + 1,
            previous: self.last.clone(),
            at: now(),
            what,
        }
    }

    /// SHA-256 of the last line: it stands for the whole timeline.
    #[must_use]
    pub fn head(&self) -> &str {
        &self.last
    }

    /// When the incident was closed.
    #[must_use]
    pub fn closed(&self) -> Option<&str> {
        self.entries.iter().find_map(|entry| match entry.what {
            Happening::Closed { .. } => Some(entry.at.as_str()),
            _ => None,
        })
    }
}

/// Now, by the clock of this host: RFC 3339, UTC, to the microsecond.
#[must_use]
pub fn now() -> String {
    format!("{:.6}", Timestamp::now())
}
