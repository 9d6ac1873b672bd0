//! What the tools have to say about a log, its anchors and its witnesses: stable codes, all in this one place.

use std::fmt;

use serde::{Deserialize, Serialize};

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
        /// The stable code of a finding, as `docs/findings.md` lists it. Codes are never reused for another meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &'static [Code] = &[$(Code::$variant),+];

            /// The dotted code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code),+ }
            }

            /// What it means, as docs/findings.md lists it.
            pub const fn meaning(self) -> &'static str {
                match self { $(Code::$variant => concat!($($doc),+).trim_ascii()),+ }
            }

            /// How much it weighs.
            pub const fn severity(self) -> Severity {
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
    /// The created_at column is not the moment of the text that was signed.
    EventCreatedAt = "event.created_at", Problem;
    /// An event is said to be sequenced after its batch was anchored: its time was altered, or it was sequenced again.
    EventSequencedAt = "event.sequenced_at", Problem;
    /// A stored row cannot be read as an event.
    EventUnreadable = "event.unreadable", Problem;
    /// Rows that must differ in something are there more than once: a constraint was lost.
    EventDuplicate = "event.duplicate", Problem;
    /// A position is filled with a tombstone: what stood there is lost.
    EventTombstone = "event.tombstone", Notice;
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
    /// A commitment is said to be made after its batch was anchored.
    CommitmentTime = "commitment.time", Problem;
    /// A commitment names another chain, transaction or block than the anchors of its batch.
    CommitmentChain = "commitment.chain", Problem;
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
    /// An anchors file was given, and it holds no anchor: nothing can be proven by it.
    AnchorNone = "anchor.none", Problem;
    /// An anchor names no stream of the log, of an outbox or of another anchor.
    AnchorUnresolved = "anchor.unresolved", Notice;
    /// An anchored state root does not follow from the one before.
    AnchorStateRoot = "anchor.state_root", Problem;
    /// Two contracts of one kind hold anchors: one of them may imitate the other.
    AnchorContract = "anchor.contract", Problem;
    /// A log of a contract has the topic of an anchor and cannot be one: a wrong count, an id that is no UUID.
    AnchorRefused = "anchor.refused", Problem;
    /// A header, receipt or storage proof in the anchors file contradicts an anchor.
    AnchorProof = "anchor.proof", Problem;
    /// An anchor is on the chain, as receipts or the contract's storage prove, and was left out of the anchors file.
    AnchorOmitted = "anchor.omitted", Problem;
    /// The root of a batch's events is not the anchored one.
    AnchorRoot = "anchor.root", Problem;
    /// An anchor went with its block when the chain was reorganised between two runs of `anchor-verify fetch`.
    AnchorReorged = "anchor.reorged", Notice;
    /// Two roots were signed for one size of a stream's tree: two histories, or a key in other hands.
    CheckpointTwoRoots = "checkpoint.two_roots", Problem;
    /// A checkpoint does not continue another of its tree: two histories were signed.
    CheckpointFork = "checkpoint.fork", Problem;
    /// A larger tree was signed before a smaller one: the log was rewound, or a clock was set back.
    CheckpointTime = "checkpoint.time", Problem;
    /// A generation of a stream's tree does not fit the one before it, or the recovery epoch that is to explain it.
    CheckpointGeneration = "checkpoint.generation", Problem;
    /// A signature at a checkpoint does not hold by the key that it names.
    CheckpointSignature = "checkpoint.signature", Problem;
    /// Leaves or peaks beside a checkpoint do not give its root: they are not used.
    CheckpointLeaves = "checkpoint.leaves", Problem;
    /// An entry of a file of checkpoints does not count: cut short, by no key that was given, by too few witnesses.
    CheckpointRefused = "checkpoint.refused", Notice;
    /// The log's events do not give a checkpoint's root.
    CheckpointMismatch = "checkpoint.mismatch", Problem;
    /// The log ends below a checkpoint, or has a hole there: numbers that were given out are not in it.
    CheckpointBehind = "checkpoint.behind", Problem;
    /// The leaves that checkpoints prove do not give the anchored root of their range.
    CheckpointAnchor = "checkpoint.anchor", Problem;
    /// Checkpoints were given, and none of them counts: nothing can be proven by them.
    CheckpointNone = "checkpoint.none", Problem;
    /// A witness did not cosign a checkpoint.
    CheckpointWitness = "checkpoint.witness", Problem;
    /// The log ends before a number that an earlier look at it saw: it was rewound.
    GuardBehind = "guard.behind", Problem;
    /// Another event stands at a number than at an earlier look: the log was rewound and ran on, or history was altered.
    GuardChanged = "guard.changed", Problem;
    /// A head or a counter is lower than at an earlier look, or another event stands at a number: the log was rewound.
    HistoryRewound = "history.rewound", Problem;
    /// A command id is recorded as used, and no event carries it: its event can never be pushed again.
    DedupeOrphan = "dedupe.orphan", Problem;
    /// An event's command id is not recorded: the command could be accepted a second time.
    DedupeMissing = "dedupe.missing", Problem;
    /// An entity's version is not the number of its events.
    VersionDrift = "version.drift", Problem;
    /// A projection has run past the log: it will skip what is refilled.
    ProjectionAhead = "projection.ahead", Problem;
    /// An index does not have what its table has: whoever asks it takes rows for lost that are there.
    IndexIncomplete = "index.incomplete", Problem;
    /// A table lacks a unique index that the sequencer relies on: nothing keeps a number from being there twice.
    IndexMissing = "index.missing", Problem;
    /// An index is marked as unfinished, so that nobody reads it.
    IndexUnused = "index.unused", Notice;
    /// A row of the proofs tables is about a batch or an event that the log does not have.
    ProofOrphan = "proof.orphan", Problem;
    /// Another copy of the log has a proof that the log does not have.
    ProofMissing = "proof.missing", Problem;
    /// A witness has another event at a position that the log has filled: a number was given out twice.
    Reissue = "reissue", Problem;
    /// An outbox names another number for an event than the log has.
    ClaimContradicted = "claim.contradicted", Notice;
    /// The log has no stream, or none that was asked for: nothing of it was looked at.
    LogEmpty = "log.empty", Problem;
    /// The log is of a level that cannot be repaired: migrations of the sequencer must be run first.
    HindranceLevel = "hindrance.level", Notice;
    /// A table that a repair writes is none.
    HindranceTable = "hindrance.table", Notice;
    /// A column that nobody knows here must be filled, or one that a repair writes cannot be.
    HindranceColumn = "hindrance.column", Notice;
    /// A trigger or rule of somebody's acts on what a repair writes.
    HindranceTrigger = "hindrance.trigger", Notice;
    /// The role lacks rights that a repair needs.
    HindranceRight = "hindrance.right", Notice;
    /// Row security applies to the role on a table that a repair writes.
    HindranceRowSecurity = "hindrance.row_security", Notice;
    /// A witness's row does not verify and is not used.
    WitnessRefused = "witness.refused", Notice;
    /// A witness speaks of a stream whose tenant neither the log nor an anchor knows; it is left alone.
    WitnessForeign = "witness.foreign", Notice;
    /// A witness was given, and it holds nothing of what was asked for: it may be the wrong file.
    WitnessEmpty = "witness.empty", Problem;
    /// A witness, or what may be one, could not be read, or not to its end.
    WitnessUnreadable = "witness.unreadable", Problem;
}

impl Code {
    /// How soon people must know of it: 0 first. What makes the sequencer give a number out again, then what contradicts
    /// a root, hash or signature, then a damaged database, then what is missing, then the rest.
    pub const fn rank(self) -> u8 {
        match self {
            Code::Reissue
            | Code::AnchorConflict
            | Code::AnchorOverlap
            | Code::CheckpointTwoRoots
            | Code::CheckpointFork
            | Code::HistoryRewound => 0,
            Code::CounterBehind | Code::CounterMissing | Code::GuardBehind | Code::GuardChanged => 1,
            Code::AnchorRoot
            | Code::AnchorProof
            | Code::AnchorOmitted
            | Code::AnchorStateRoot
            | Code::AnchorRefused
            | Code::CheckpointGeneration
            | Code::CheckpointSignature
            | Code::CheckpointLeaves
            | Code::CheckpointMismatch
            | Code::CheckpointAnchor
            | Code::CommitmentRoot
            | Code::CommitmentStateRoot
            | Code::EventSigningHash
            | Code::EventPayloadHash
            | Code::EventSignature
            | Code::EventCreatedAt
            | Code::EventSequencedAt
            | Code::ReceiptMismatch
            | Code::ReceiptSignature => 2,
            Code::LogEmpty
            | Code::EventUnreadable
            | Code::EventDuplicate
            | Code::IndexIncomplete
            | Code::IndexMissing
            | Code::WitnessUnreadable => 3,
            Code::GapInterior
            | Code::GapLeading
            | Code::GapTail
            | Code::CheckpointBehind
            | Code::CommitmentMissing => 4,
            other => match other.severity() {
                Severity::Problem => 5,
                Severity::Notice => 6,
            },
        }
    }
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
        let rows = text.lines().filter(|line| line.starts_with("| `")).count();
        assert_eq!(
            rows,
            Code::ALL.len(),
            "docs/findings.md lists codes that there are not"
        );
    }
}
