//! The batches of a stream: each is judged by the root of the stored events, and those whose root can decide about missing
//! events become targets.

use std::collections::BTreeMap;

use anchor_verify::AnchoredBatch;
use anchor_verify::rules::{self, AnchoredAt, Anchoring, Elsewhere, Wrong};
use event_log::Commitment;
use serde::Serialize;
use ves::span::Span;
use ves::{BatchId, Hash32, StreamKey};

use crate::finding::{Code, Finding, Remedy};
use crate::grade::Grade;
use crate::stream::scan::{BatchScan, Scan};
use crate::stream::target::Target;

/// The verdict on one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum BatchVerdict {
    /// The root of the stored events is the anchored one. (That the anchor's block is trusted is for
    /// `anchor-verify` to say.)
    #[serde(rename = "MATCHES ANCHORS")]
    MatchesAnchors,
    /// The root of the stored events is that of the log's own commitment, and no anchor was given.
    #[serde(rename = "MATCHES DATABASE")]
    MatchesDatabase,
    /// It is not.
    #[serde(rename = "FAILED")]
    Failed,
    /// Events are missing, so there is no root to compare.
    #[serde(rename = "NOT CHECKED")]
    NotChecked,
}

impl BatchVerdict {
    /// The words that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            BatchVerdict::MatchesAnchors => "MATCHES ANCHORS",
            BatchVerdict::MatchesDatabase => "MATCHES DATABASE",
            BatchVerdict::Failed => "FAILED",
            BatchVerdict::NotChecked => "NOT CHECKED",
        }
    }
}

/// One batch, as the log's commitment and the anchors know it.
#[derive(Debug, Clone, Serialize)]
pub struct Batch {
    /// The batch.
    pub batch_id: BatchId,
    /// Its first number.
    pub sequence_start: u64,
    /// Its last number (inclusive).
    pub sequence_end: u64,
    /// Whether the log has a commitment for it.
    pub committed: bool,
    /// Whether an anchor was given for it.
    pub anchored: bool,
    /// How many of its events the log lacks.
    pub missing: u64,
    /// What the root says.
    pub verdict: BatchVerdict,
}

/// What is to be known of a batch, whoever speaks of it.
struct Root {
    batch_id: BatchId,
    start: u64,
    end: u64,
    root: Hash32,
    grade: Grade,
}

/// The places on the chain that commitments name.
#[derive(Debug, Default, Clone)]
pub struct ChainPlaces {
    /// Whether they are those of any anchors.
    pub elsewhere: Elsewhere,
    /// Those at which none of their anchors is: findings if the anchors are of the contract that they name.
    pub findings: Vec<Finding>,
}

/// Judges the batches of one stream.
pub(super) struct BatchJudge<'a> {
    stream: StreamKey,
    scan: &'a Scan,
    batches: BTreeMap<(u64, u64, BatchId), Batch>,
    targets: BTreeMap<(u64, u64, Hash32), Target>,
    /// What is wrong.
    pub(super) findings: Vec<Finding>,
    /// What was not checked.
    pub(super) not_checked: Vec<String>,
}

impl<'a> BatchJudge<'a> {
    pub(super) fn new(stream: StreamKey, scan: &'a Scan) -> Self {
        Self {
            stream,
            scan,
            batches: BTreeMap::new(),
            targets: BTreeMap::new(),
            findings: Vec::new(),
            not_checked: Vec::new(),
        }
    }

    /// The batches by start, and the targets.
    pub(super) fn batches(&mut self) -> (Vec<Batch>, Vec<Target>) {
        let batches = std::mem::take(&mut self.batches).into_values().collect();
        (batches, std::mem::take(&mut self.targets).into_values().collect())
    }

    fn find(&mut self, code: Code, message: String, (start, end): (u64, u64)) -> &mut Finding {
        let finding = Finding::new(code, message).stream(self.stream).range(start, end);
        self.findings.push(finding);
        let last = self.findings.len() - 1;
        &mut self.findings[last]
    }

    /// What is wrong with one commitment.
    fn find_all(&mut self, wrong: impl IntoIterator<Item = Wrong>, range: (u64, u64)) {
        for (code, message) in wrong {
            let finding = self.find(code, message, range);
            *finding = finding.clone().count(1);
        }
    }

    /// The log's own commitments, by start. The scan's batches are these first, then the anchors.
    pub(super) fn commitments(&mut self, commitments: &[Commitment]) {
        for (c, scanned) in commitments.iter().zip(&self.scan.batches) {
            let range = (c.sequence_start, c.sequence_end);
            self.find_all(rules::commitment(c), range);
            let width = width(range);
            let unreadable = self.scan.unreadable_in(range.0, range.1);
            let missing = width.saturating_sub(scanned.present).saturating_sub(unreadable);
            let verdict = self.commitment(c, scanned, missing, unreadable);
            self.target(
                scanned,
                unreadable,
                &Root {
                    batch_id: c.batch_id,
                    start: range.0,
                    end: range.1,
                    root: c.merkle_root,
                    grade: Grade::Committed,
                },
            );
            self.batches.insert(
                (range.0, range.1, c.batch_id),
                Batch {
                    batch_id: c.batch_id,
                    sequence_start: range.0,
                    sequence_end: range.1,
                    committed: true,
                    anchored: false,
                    missing,
                    verdict,
                },
            );
        }
    }

    fn commitment(
        &mut self,
        c: &Commitment,
        scanned: &BatchScan,
        missing: u64,
        unreadable: u64,
    ) -> BatchVerdict {
        match scanned.root {
            None => {
                let cannot = match unreadable {
                    0 => String::new(),
                    count => format!(", {count} cannot be read"),
                };
                self.not_checked.push(format!(
                    "{}: root of commitment {} ({}-{}): {missing} of its events are missing{cannot}",
                    c.stream, c.batch_id, c.sequence_start, c.sequence_end,
                ));
                BatchVerdict::NotChecked
            }
            Some(root) if root == c.merkle_root => BatchVerdict::MatchesDatabase,
            Some(root) => {
                let message = format!(
                    "commitment {} has the root {}, the stored events give {root}",
                    c.batch_id, c.merkle_root
                );
                self.find(Code::CommitmentRoot, message, (c.sequence_start, c.sequence_end));
                BatchVerdict::Failed
            }
        }
    }

    /// The anchored batches, by start.
    pub(super) fn anchors(&mut self, anchored: &[AnchoredBatch], commitments: &[Commitment]) {
        for (a, scanned) in anchored.iter().zip(&self.scan.batches[commitments.len()..]) {
            let range = (a.sequence_start, a.sequence_end);
            let commitment = commitments
                .iter()
                .find(|c| c.batch_id == a.batch_id || (c.sequence_start, c.sequence_end) == range);
            self.beside_commitment(a, commitment);
            let verdict = self.anchor(a, scanned);
            // What cannot be read is there, and no root can tell which event it is.
            let unreadable = self.scan.unreadable_in(range.0, range.1);
            // Anchors that contradict each other prove nothing until somebody has decided between them.
            if !a.contested {
                self.target(
                    scanned,
                    unreadable,
                    &Root {
                        batch_id: a.batch_id,
                        start: range.0,
                        end: range.1,
                        root: a.events_root,
                        grade: Grade::Proven,
                    },
                );
            }
            let missing = width(range).saturating_sub(scanned.present);
            let batch = self
                .batches
                .entry((range.0, range.1, a.batch_id))
                .or_insert(Batch {
                    batch_id: a.batch_id,
                    sequence_start: range.0,
                    sequence_end: range.1,
                    committed: commitment.is_some(),
                    anchored: true,
                    missing: missing.saturating_sub(unreadable),
                    verdict,
                });
            batch.anchored = true;
            // A commitment with the right root beside an anchor with another is a failure, whichever came first.
            batch.verdict = match (batch.verdict, verdict) {
                (BatchVerdict::Failed, _) | (_, BatchVerdict::Failed) => BatchVerdict::Failed,
                (_, anchors) => anchors,
            };
        }
    }

    /// What the commitments say of when and where they were anchored, beside the anchors of their ranges. What they say of
    /// places is held back: whether it counts, all streams together tell.
    pub(super) fn anchoring(
        &mut self,
        anchored: &[AnchoredBatch],
        commitments: &[Commitment],
        chain_id: Option<u64>,
    ) -> ChainPlaces {
        let mut of_range: BTreeMap<(u64, u64), Anchoring> = BTreeMap::new();
        for a in anchored {
            let range = (a.sequence_start, a.sequence_end);
            let anchoring = of_range.entry(range).or_default();
            anchoring.chain_id = chain_id;
            anchoring.at = anchoring.at.into_iter().chain(AnchoredAt::first(a)).min();
            let places = a.places.iter();
            (anchoring.places).extend(places.map(|place| (place.transaction_hash, place.block_number)));
        }
        let mut places = ChainPlaces::default();
        for c in commitments {
            let range = (c.sequence_start, c.sequence_end);
            let Some(anchoring) = of_range.get(&range) else {
                continue;
            };
            self.find_all(anchoring.too_late(c), range);
            self.find_all(anchoring.other_chain(c), range);
            places.elsewhere.add(c, anchoring);
            let finding = anchoring.other_place(c).map(|(code, message)| {
                let finding = Finding::new(code, message).stream(self.stream);
                finding.range(range.0, range.1).count(1)
            });
            places.findings.extend(finding);
        }
        places
    }

    fn beside_commitment(&mut self, a: &AnchoredBatch, commitment: Option<&Commitment>) {
        let range = (a.sequence_start, a.sequence_end);
        match commitment {
            Some(c) if c.merkle_root != a.events_root || c.new_state_root != a.state_root => {
                let message = format!(
                    "batch {} is anchored with root {} and state root {}, commitment {} has {} and {}",
                    a.batch_id, a.events_root, a.state_root, c.batch_id, c.merkle_root, c.new_state_root
                );
                self.find(Code::AnchorConflict, message, range);
            }
            Some(c) if (c.sequence_start, c.sequence_end) != range => {
                let message = format!(
                    "batch {} is anchored over the numbers {} to {}, its commitment is over {} to {}",
                    a.batch_id, a.sequence_start, a.sequence_end, c.sequence_start, c.sequence_end
                );
                self.find(Code::AnchorConflict, message, range);
            }
            Some(_) => {}
            None => {
                let message = format!(
                    "batch {} is anchored, and the log has no commitment for it",
                    a.batch_id
                );
                let finding = self.find(Code::CommitmentMissing, message, range);
                *finding = finding.clone().count(1).remedy(Remedy::Plan);
            }
        }
    }

    fn anchor(&mut self, a: &AnchoredBatch, scanned: &BatchScan) -> BatchVerdict {
        match scanned.root {
            None => BatchVerdict::NotChecked,
            Some(root) if root == a.events_root => BatchVerdict::MatchesAnchors,
            Some(root) => {
                let message = format!(
                    "the stored events {}-{} give the root {root}, batch {} was anchored with {}: numbers were given \
                     out twice, or events were altered",
                    a.sequence_start, a.sequence_end, a.batch_id, a.events_root
                );
                self.find(Code::Reissue, message, (a.sequence_start, a.sequence_end));
                BatchVerdict::Failed
            }
        }
    }

    /// Commitments that are not anchored, and what lies between the anchors.
    pub(super) fn coverage(&mut self, anchored: &[AnchoredBatch], anchors_given: bool) {
        if anchors_given {
            let batches: Vec<Batch> = self.batches.values().cloned().collect();
            for batch in batches.iter().filter(|b| b.committed && !b.anchored) {
                let message = format!("commitment {} is not among the given anchors", batch.batch_id);
                let range = (batch.sequence_start, batch.sequence_end);
                let finding = self.find(Code::CommitmentUnanchored, message, range);
                *finding = finding.clone().count(1);
            }
        }
        let mut covered: Option<u64> = None;
        for batch in anchored {
            if let Some(end) = covered.filter(|end| batch.sequence_start > end.saturating_add(1)) {
                let message = format!("nothing is anchored between {end} and {}", batch.sequence_start);
                self.find(Code::AnchorGap, message, (end + 1, batch.sequence_start - 1));
            }
            covered = covered.max(Some(batch.sequence_end));
        }
    }

    /// Each commitment must start where the one before ended, and its state root must follow; `previous` is the one before
    /// the first of them.
    pub(super) fn state_chain<'c>(
        &mut self,
        mut previous: Option<&'c Commitment>,
        commitments: &'c [Commitment],
    ) {
        for c in commitments {
            self.find_all(rules::succession(previous, c), (c.sequence_start, c.sequence_end));
            previous = Some(c);
        }
    }

    /// A batch whose events are not all there can be decided by its root. An anchored root replaces the database's own
    /// of the same value.
    fn target(&mut self, scanned: &BatchScan, unreadable: u64, of: &Root) {
        let Some(range) = Span::new(of.start, of.end).filter(|_| scanned.root.is_none() && unreadable == 0)
        else {
            return;
        };
        let target = Target {
            batch_id: of.batch_id,
            range,
            root: of.root,
            grade: of.grade,
            present: scanned.leaves.clone(),
            times: scanned.times.clone(),
        };
        self.targets.insert((of.start, of.end, of.root), target);
    }
}

/// How many positions a range has; 0 if it ends before it starts.
fn width((start, end): (u64, u64)) -> u64 {
    end.checked_sub(start).map_or(0, |n| n.saturating_add(1))
}
