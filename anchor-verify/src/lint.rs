//! Anchors judged among themselves, and against the commitments of a log.
//!
//! StateSetAnchor refuses only a batch id that was used before, so that a chain can hold ranges that overlap, leave
//! gaps, or have two roots. Nobody but an auditor looks for them.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

pub use cli_common::finding::{Code, Severity};
use event_log::Commitment;
use serde::Serialize;
use ves::stream::{GENESIS_STATE_ROOT, state_root};
use ves::{BatchId, Hash32, StreamKey};

use crate::anchor::{Anchor, AnchorKind, ContractAddress};
use crate::anchors_file::AnchorsFile;
use crate::batches::{AnchorView, AnchoredBatch, Conflict, ConflictKind, StreamAnchors, group};
use crate::chain::{Completeness, examine};
use crate::standing::Standing;

/// One thing that is so, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// The stable code.
    pub code: Code,
    /// What it means for the exit status.
    pub severity: Severity,
    /// The stream concerned, if one is and it is known.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamKey>,
    /// The first sequence number concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// The last sequence number concerned (inclusive).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<u64>,
    /// The batches concerned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub batches: Vec<BatchId>,
    /// One plain sentence.
    pub message: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

impl LintFinding {
    fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            stream: None,
            from: None,
            to: None,
            batches: Vec::new(),
            message: message.into(),
            next: None,
        }
    }

    fn of(mut self, stream: Option<StreamKey>, range: (u64, u64)) -> Self {
        self.stream = stream;
        (self.from, self.to) = (Some(range.0), Some(range.1));
        self
    }

    fn batches(mut self, batches: impl IntoIterator<Item = BatchId>) -> Self {
        self.batches = batches.into_iter().collect();
        self
    }

    fn next(mut self, next: impl Into<String>) -> Self {
        self.next = Some(next.into());
        self
    }
}

/// What a log knows of its commitments.
#[derive(Debug, Clone, Default)]
pub struct LogCommitments {
    /// Its streams, those without commitments too.
    pub streams: Vec<StreamKey>,
    /// Its commitments.
    pub commitments: Vec<Commitment>,
}

/// What was found, and what was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LintReport {
    /// The findings, by stream and position.
    pub findings: Vec<LintFinding>,
    /// Streams with anchors.
    pub streams: usize,
    /// Anchors.
    pub anchors: usize,
    /// Anchored batches, each once whatever the number of contracts.
    pub batches: usize,
    /// Anchored state roots that follow from the one before.
    pub chained: usize,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

impl LintReport {
    /// Adds the anchors that were left out, and what is not known about it.
    pub fn add_completeness(&mut self, completeness: &Completeness) {
        for anchor in &completeness.left_out {
            let message = format!(
                "the receipts of block {} hold batch {} of contract {} with root {} (log {}), which was left out",
                anchor.block_number, anchor.batch_id, anchor.contract, anchor.events_root, anchor.log_index
            );
            let found = LintFinding::new(Code::AnchorOmitted, message)
                .of(anchor.stream, (anchor.sequence_start, anchor.sequence_end))
                .batches([anchor.batch_id]);
            self.findings
                .push(found.next("find out who left it out; fetch the anchors from another node"));
        }
        self.not_checked.extend(completeness.not_checked());
    }
}

/// Judges the anchors of a file among themselves, and against the commitments of a log if there is one. Opens nothing.
pub fn lint(file: &AnchorsFile, log: Option<&LogCommitments>) -> LintReport {
    let streams = log.map_or(&[][..], |log| &log.streams);
    let view = group(&file.anchors, streams);
    let mut findings: Vec<LintFinding> = view.conflicts.iter().map(conflict).collect();
    let mut chain = StateRoots::default();
    for stream in &view.streams {
        findings.extend(gaps(stream));
        chain.check(stream, &mut findings);
        if stream.stream.is_none() {
            let numbers = stream.batches.first().map_or(0, |b| b.sequence_start);
            let message = format!(
                "{} batches are of a stream of which only the hash {} is known",
                stream.batches.len(),
                stream.tenant_store_key
            );
            let found = LintFinding::new(Code::AnchorUnresolved, message)
                .of(None, (numbers, stream.head().unwrap_or(numbers)));
            findings
                .push(found.next("name the log with --db, or the stream with import --stream TENANT/STORE"));
        }
    }
    findings.extend(contracts(&file.anchors));
    findings.extend(file.chain.refused.iter().map(|refused| {
        let mut found = LintFinding::new(Code::AnchorRefused, refused.to_string()).batches(refused.batch_id);
        found.stream = refused
            .tenant_store_key
            .and_then(|key| view.streams.iter().find(|s| s.tenant_store_key == key)?.stream);
        found
    }));
    let report = examine(file, None);
    for (anchor, standing) in file.anchors.iter().zip(&report.standings) {
        if let Standing::Failed { why } = standing {
            let message = format!("batch {} of contract {}: {why}", anchor.batch_id, anchor.contract);
            let found = LintFinding::new(Code::AnchorProof, message)
                .of(anchor.stream, (anchor.sequence_start, anchor.sequence_end))
                .batches([anchor.batch_id]);
            findings.push(found.next("fetch the anchors again, from a node that you trust"));
        }
    }
    let mut not_checked =
        vec!["that the anchors are on the chain: anchor-verify verify --trusted-block does".to_owned()];
    if chain.unknown > 0 {
        not_checked.push(format!(
            "the state roots of {} batches: the batch before is not anchored, or the stream is not known",
            chain.unknown
        ));
    }
    match log {
        Some(log) => compare(&view, log, &mut findings),
        None => not_checked.push("the log's commitments: no log was given (--db)".to_owned()),
    }
    findings.sort_by(|a, b| {
        let key = |f: &LintFinding| (f.stream.is_none(), f.stream, f.from, f.to, f.code.as_str());
        key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
    });
    LintReport {
        findings,
        streams: view.streams.len(),
        anchors: file.anchors.len(),
        batches: view.streams.iter().map(|stream| stream.batches.len()).sum(),
        chained: chain.right,
        not_checked,
    }
}

fn conflict(conflict: &Conflict) -> LintFinding {
    let Conflict { kind, first, second } = conflict;
    let range = |batch: &AnchoredBatch| format!("{} to {}", batch.sequence_start, batch.sequence_end);
    let (code, message) = match kind {
        ConflictKind::BatchId => (
            Code::AnchorConflict,
            format!(
                "batch {} is anchored with two contents, which differ in {}",
                first.batch_id,
                differences(first, second).join(", ")
            ),
        ),
        ConflictKind::Range => (
            Code::AnchorConflict,
            format!(
                "{} is anchored as batch {} and as batch {}, which differ in {}",
                range(first),
                first.batch_id,
                second.batch_id,
                differences(first, second).join(", ")
            ),
        ),
        ConflictKind::Overlap => (
            Code::AnchorOverlap,
            format!(
                "batch {} ({}) and batch {} ({}) share positions",
                first.batch_id,
                range(first),
                second.batch_id,
                range(second)
            ),
        ),
    };
    let from = first.sequence_start.min(second.sequence_start);
    let to = first.sequence_end.max(second.sequence_end);
    let batches = BTreeSet::from([first.batch_id, second.batch_id]);
    LintFinding::new(code, message)
        .of(first.stream.or(second.stream), (from, to))
        .batches(batches)
}

/// What two batches say otherwise of each other, with both values.
pub(crate) fn differences(first: &AnchoredBatch, second: &AnchoredBatch) -> Vec<String> {
    let stream = |batch: &AnchoredBatch| match batch.stream {
        Some(stream) => stream.to_string(),
        None => format!("the hash {}", batch.tenant_store_key),
    };
    let range = |batch: &AnchoredBatch| format!("{} to {}", batch.sequence_start, batch.sequence_end);
    let both = |of: fn(&AnchoredBatch) -> String| (of(first), of(second));
    [
        ("stream", (stream(first), stream(second))),
        ("range", (range(first), range(second))),
        ("root", both(|batch| batch.events_root.to_string())),
        ("state root", both(|batch| batch.state_root.to_string())),
    ]
    .into_iter()
    .filter(|(_, (a, b))| a != b)
    .map(|(name, (a, b))| format!("{name} ({a} and {b})"))
    .collect()
}

fn gaps(stream: &StreamAnchors) -> Vec<LintFinding> {
    let mut found = Vec::new();
    let mut head: Option<u64> = None;
    // Batches are sorted by their first number.
    for batch in &stream.batches {
        if let Some(head) = head
            && batch.sequence_start > head + 1
        {
            let range = (head + 1, batch.sequence_start - 1);
            let message = format!(
                "{} to {} is in no anchored batch, though later batches are anchored",
                range.0, range.1
            );
            found.push(LintFinding::new(Code::AnchorGap, message).of(stream.stream, range));
        }
        head = head.max(Some(batch.sequence_end));
    }
    found
}

/// Follows the chain of state roots.
#[derive(Default)]
struct StateRoots {
    right: usize,
    unknown: usize,
}

/// How many contradicting batches that end at one position are taken for the one before.
const MAX_BEFORE: usize = 16;

impl StateRoots {
    fn check(&mut self, anchors: &StreamAnchors, findings: &mut Vec<LintFinding>) {
        let mut before: HashMap<u64, BTreeSet<Hash32>> = HashMap::new();
        for batch in &anchors.batches {
            let of_end = before.entry(batch.sequence_end).or_default();
            if of_end.len() < MAX_BEFORE {
                of_end.insert(batch.state_root);
            }
        }
        for batch in &anchors.batches {
            // Sequences start at 1, so nothing can have been committed before 1.
            let genesis = BTreeSet::from([GENESIS_STATE_ROOT]);
            let previous = match batch.sequence_start {
                1 => Some(&genesis),
                start => before.get(&(start - 1)),
            };
            let (Some(stream), Some(previous)) = (&anchors.stream, previous) else {
                self.unknown += 1;
                continue;
            };
            let follows = previous.iter().any(|previous| {
                let AnchoredBatch {
                    events_root,
                    sequence_start,
                    sequence_end,
                    event_count,
                    ..
                } = batch;
                state_root(
                    stream,
                    previous,
                    events_root,
                    *sequence_start,
                    *sequence_end,
                    *event_count,
                ) == batch.state_root
            });
            if follows {
                self.right += 1;
                continue;
            }
            let message = format!(
                "the state root {} of batch {} does not follow from the batch before it",
                batch.state_root, batch.batch_id
            );
            let found = LintFinding::new(Code::AnchorStateRoot, message)
                .of(anchors.stream, (batch.sequence_start, batch.sequence_end));
            findings.push(found.batches([batch.batch_id]));
        }
    }
}

/// Contracts of one kind that both hold anchors.
pub(crate) fn contracts(anchors: &[Anchor]) -> Vec<LintFinding> {
    let mut kinds: BTreeMap<AnchorKind, BTreeMap<ContractAddress, usize>> = BTreeMap::new();
    for anchor in anchors {
        *kinds
            .entry(anchor.kind)
            .or_default()
            .entry(anchor.contract)
            .or_default() += 1;
    }
    kinds
        .into_iter()
        .filter(|(_, contracts)| contracts.len() > 1)
        .map(|(kind, contracts)| {
            let named = contracts
                .iter()
                .take(8)
                .map(|(contract, anchors)| format!("{contract} ({anchors} anchors)"));
            let message = format!(
                "{} contracts are of the kind {kind}: {}",
                contracts.len(),
                named.collect::<Vec<_>>().join(", ")
            );
            let found = LintFinding::new(Code::AnchorContract, message);
            found.next("import or fetch again with --contract, naming the sequencer's own")
        })
        .collect()
}

/// Compares what is anchored with what the log has committed.
fn compare(view: &AnchorView, log: &LogCommitments, findings: &mut Vec<LintFinding>) {
    let by_id: HashMap<BatchId, &Commitment> = log.commitments.iter().map(|c| (c.batch_id, c)).collect();
    let mut by_range: HashMap<(StreamKey, u64, u64), Vec<&Commitment>> = HashMap::new();
    for commitment in &log.commitments {
        let range = (
            commitment.stream,
            commitment.sequence_start,
            commitment.sequence_end,
        );
        by_range.entry(range).or_default().push(commitment);
    }
    let mut anchored: HashSet<BatchId> = HashSet::new();
    for batch in view.streams.iter().flat_map(|stream| &stream.batches) {
        let range = (batch.sequence_start, batch.sequence_end);
        let same = |c: &Commitment| {
            batch.stream.is_none_or(|stream| stream == c.stream)
                && (c.sequence_start, c.sequence_end) == range
                && (c.merkle_root, c.new_state_root) == (batch.events_root, batch.state_root)
                && c.leaf_count == batch.event_count
        };
        let others = batch
            .stream
            .and_then(|stream| by_range.get(&(stream, range.0, range.1)));
        let others = others.map_or(&[][..], Vec::as_slice);
        // Committed again after a replay, a batch has another id and the same roots.
        if let Some(again) = others.iter().find(|c| same(c)) {
            anchored.insert(again.batch_id);
        }
        let found = match by_id.get(&batch.batch_id) {
            Some(commitment) => {
                anchored.insert(batch.batch_id);
                if same(commitment) {
                    continue;
                }
                let message = format!(
                    "batch {} is anchored as {} to {} with root {}, and the log has committed it as {} to {} with root {}",
                    batch.batch_id,
                    range.0,
                    range.1,
                    batch.events_root,
                    commitment.sequence_start,
                    commitment.sequence_end,
                    commitment.merkle_root
                );
                LintFinding::new(Code::AnchorConflict, message)
            }
            None if others.iter().any(|c| same(c)) => continue,
            None if !others.is_empty() => {
                let message = format!(
                    "{} to {} is anchored as batch {} with root {}, and the log has committed it as batch {} with root {}",
                    range.0,
                    range.1,
                    batch.batch_id,
                    batch.events_root,
                    others[0].batch_id,
                    others[0].merkle_root
                );
                LintFinding::new(Code::AnchorConflict, message)
            }
            None => {
                let message = format!(
                    "batch {} is anchored, and the log has no commitment for it",
                    batch.batch_id
                );
                LintFinding::new(Code::CommitmentMissing, message)
                    .next("sequencer-recovery plan --db DB --anchors FILE")
            }
        };
        findings.push(found.of(batch.stream, range).batches([batch.batch_id]));
    }
    for commitment in log.commitments.iter().filter(|c| !anchored.contains(&c.batch_id)) {
        let noted = match commitment.chain_tx_hash {
            Some(transaction) => format!(", though the log says that it was, in transaction {transaction}"),
            None => String::new(),
        };
        let message = format!(
            "batch {} of the log is not among the anchors{noted}",
            commitment.batch_id
        );
        let found = LintFinding::new(Code::CommitmentUnanchored, message).of(
            Some(commitment.stream),
            (commitment.sequence_start, commitment.sequence_end),
        );
        findings.push(found.batches([commitment.batch_id]));
    }
}
