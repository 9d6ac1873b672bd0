//! Findings: what an audit has to say, each with a stable code.

use std::fmt;

use event_log::Family;
use serde::{Deserialize, Serialize};
use ves::StreamKey;

/// What a finding means for the exit status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing; nothing to repair.
    Notice,
    /// Something is wrong. The exit status says so.
    Problem,
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $variant:ident = $code:literal, $severity:ident;)+) => {
        /// The stable code of a finding. Codes are never reused for another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The dotted code.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code),+ }
            }

            /// What it means, as docs/findings.md lists it.
            pub fn meaning(self) -> &'static str {
                match self { $(Code::$variant => concat!($($doc),+).trim_ascii()),+ }
            }

            /// How much it weighs.
            pub fn severity(self) -> Severity {
                match self { $(Code::$variant => Severity::$severity),+ }
            }
        }
    };
}

codes! {
    /// Positions between present events are missing.
    GapInterior = "gap.interior", Problem;
    /// Positions from 1 up to the first present event are missing.
    GapLeading = "gap.leading", Problem;
    /// Positions after the last present event were given out, as a witness knows.
    GapTail = "gap.tail", Problem;
    /// The counter is below a number that was given out: the sequencer would give it out again, or fail.
    CounterBehind = "counter.behind", Problem;
    /// The counter is above every number that any witness knows: the next event leaves a hole.
    CounterAhead = "counter.ahead", Problem;
    /// The stream has no counter row: the sequencer would start again at 1 and fail.
    CounterMissing = "counter.missing", Problem;
    /// A stored signing hash is not the hash of the stored fields.
    EventSigningHash = "event.signing_hash", Problem;
    /// A stored payload hash is not the hash of the stored payload.
    EventPayloadHash = "event.payload_hash", Problem;
    /// An agent's signature does not hold.
    EventSignature = "event.signature", Problem;
    /// An event's key is not registered, or was not valid when the event was accepted.
    EventKey = "event.key", Problem;
    /// A stored row cannot be read as an event.
    EventUnreadable = "event.unreadable", Problem;
    /// An event has no receipt: pushed again, it is refused for good.
    ReceiptMissing = "receipt.missing", Problem;
    /// A receipt names another number, time or hash than its event has.
    ReceiptMismatch = "receipt.mismatch", Problem;
    /// A receipt's signature does not hold.
    ReceiptSignature = "receipt.signature", Problem;
    /// A commitment's Merkle root is not the root of the stored events.
    CommitmentRoot = "commitment.root", Problem;
    /// A commitment's state root does not follow from the one before.
    CommitmentStateRoot = "commitment.state_root", Problem;
    /// A commitment does not start where the one before ended, or its counts contradict its range.
    CommitmentGap = "commitment.gap", Problem;
    /// A batch is anchored on chain, and the log has no commitment for it.
    CommitmentMissing = "commitment.missing", Problem;
    /// A commitment of the log is not among the given anchors.
    CommitmentUnanchored = "commitment.unanchored", Notice;
    /// Anchors, or an anchor and a commitment, give one range two roots, or one batch two contents.
    AnchorConflict = "anchor.conflict", Problem;
    /// Two anchored batches of a stream overlap.
    AnchorOverlap = "anchor.overlap", Problem;
    /// The anchored batches of a stream do not follow each other.
    AnchorGap = "anchor.gap", Notice;
    /// An anchor names no stream of the log, of an outbox or of another anchor.
    AnchorUnresolved = "anchor.unresolved", Notice;
    /// A command id is recorded as used, and no event carries it: its event can never be pushed again.
    DedupeOrphan = "dedupe.orphan", Problem;
    /// An event's command id is not recorded: the command could be accepted a second time.
    DedupeMissing = "dedupe.missing", Problem;
    /// An entity's version is not the number of its events.
    VersionDrift = "version.drift", Problem;
    /// A projection has run past the log: it will skip what is refilled.
    ProjectionAhead = "projection.ahead", Problem;
    /// A row of the proofs tables is about a batch or an event that the log does not have.
    ProofOrphan = "proof.orphan", Problem;
    /// Another copy of the log has a proof that the log does not have.
    ProofMissing = "proof.missing", Problem;
    /// A witness has another event at a position that the log has filled: a number was given out twice.
    Reissue = "reissue", Problem;
    /// An outbox names another number for an event than the log has.
    ClaimContradicted = "claim.contradicted", Notice;
    /// A witness's row does not verify and is not used.
    WitnessRefused = "witness.refused", Notice;
    /// A witness speaks of a stream whose tenant neither the log nor an anchor knows; it is left alone.
    WitnessForeign = "witness.foreign", Notice;
    /// A witness could not be read.
    WitnessUnreadable = "witness.unreadable", Problem;
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing that is so, where, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The stable code.
    pub code: Code,
    /// What it means for the exit status.
    pub severity: Severity,
    /// The sequence concerned, if it is not the VES log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// The stream concerned, if one is.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamKey>,
    /// The first sequence number concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The last sequence number concerned (inclusive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// How many rows or positions are concerned.
    pub count: u64,
    /// One plain sentence.
    pub message: String,
    /// The command that acts on it next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl Finding {
    /// A finding of this code with its sentence, about no stream yet.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            family: None,
            stream: None,
            from: None,
            to: None,
            count: 1,
            message: message.into(),
            next: None,
        }
    }

    /// Says which stream is concerned.
    pub fn stream(mut self, stream: StreamKey) -> Self {
        self.stream = Some(stream);
        self
    }

    /// Says that it is about a sequence beside the VES log.
    pub fn family(mut self, family: Family) -> Self {
        self.family = Some(family);
        self
    }

    /// Says which positions are concerned; the count becomes their number.
    pub fn range(mut self, from: u64, to: u64) -> Self {
        self.from = Some(from);
        self.to = Some(to);
        self.count = to.saturating_sub(from).saturating_add(1);
        self
    }

    /// Says how many rows are concerned.
    pub fn count(mut self, count: u64) -> Self {
        self.count = count;
        self
    }

    /// Says which command acts on it.
    pub fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_dotted_and_documented() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            assert!(seen.insert(code.as_str()), "{code} twice");
            assert!(
                code.as_str()
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'_')
            );
            assert!(code.meaning().ends_with('.'), "{code}: {}", code.meaning());
        }
    }

    #[test]
    fn the_documentation_lists_every_code_with_its_meaning() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/findings.md");
        let text = std::fs::read_to_string(path).unwrap();
        for code in Code::ALL {
            let severity = match code.severity() {
                Severity::Problem => "problem",
                Severity::Notice => "notice",
            };
            let row = format!("| `{code}` | {severity} | {} |", code.meaning());
            assert!(text.contains(&row), "docs/findings.md lacks the row\n{row}");
        }
    }
}
