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
use crate::standing::AnchorStanding;

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
    /// The commitments of all of its streams.
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
        findings.extend(unresolved(stream));
    }
    findings.extend(contracts(&file.anchors));
    findings.extend(refused(file, &view));
    findings.extend(contradicted(file));
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

/// A stream of which only the hash is known.
fn unresolved(stream: &StreamAnchors) -> Option<LintFinding> {
    if stream.stream.is_some() {
        return None;
    }
    let first = stream.batches.first().map_or(0, |b| b.sequence_start);
    let message = format!(
        "{} batches are of a stream of which only the hash {} is known",
        stream.batches.len(),
        stream.tenant_store_key
    );
    let found = LintFinding::new(Code::AnchorUnresolved, message);
    let found = found.of(None, (first, stream.head().unwrap_or(first)));
    Some(found.next("name the log with --db, or the stream with import --stream TENANT/STORE"))
}

/// Logs that look like anchors and cannot be any.
fn refused<'a>(file: &'a AnchorsFile, view: &'a AnchorView) -> impl Iterator<Item = LintFinding> + use<'a> {
    file.chain.refused.iter().map(|refused| {
        let mut found = LintFinding::new(Code::AnchorRefused, refused.to_string()).batches(refused.batch_id);
        found.stream = refused
            .tenant_store_key
            .and_then(|key| view.streams.iter().find(|s| s.tenant_store_key == key)?.stream);
        found
    })
}

/// Anchors that their own proofs contradict.
fn contradicted(file: &AnchorsFile) -> Vec<LintFinding> {
    let report = examine(file, None);
    let mut findings = Vec::new();
    for (anchor, standing) in file.anchors.iter().zip(&report.standings) {
        if let AnchorStanding::Failed { why } = standing {
            let message = format!("batch {} of contract {}: {why}", anchor.batch_id, anchor.contract);
            let found = LintFinding::new(Code::AnchorProof, message)
                .of(anchor.stream, (anchor.sequence_start, anchor.sequence_end))
                .batches([anchor.batch_id]);
            findings.push(found.next("fetch the anchors again, from a node that you trust"));
        }
    }
    findings
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

/// The commitments of a log, to be found by id and by range.
struct CommitmentIndex<'a> {
    by_id: HashMap<BatchId, &'a Commitment>,
    by_range: HashMap<(StreamKey, u64, u64), Vec<&'a Commitment>>,
}

impl<'a> CommitmentIndex<'a> {
    fn new(commitments: &'a [Commitment]) -> Self {
        let mut by_range: HashMap<_, Vec<&Commitment>> = HashMap::new();
        for c in commitments {
            let range = (c.stream, c.sequence_start, c.sequence_end);
            by_range.entry(range).or_default().push(c);
        }
        Self {
            by_id: commitments.iter().map(|c| (c.batch_id, c)).collect(),
            by_range,
        }
    }

    /// Those over the range of a batch.
    fn over(&self, batch: &AnchoredBatch) -> &[&'a Commitment] {
        let of_range = batch.stream.and_then(|stream| {
            self.by_range
                .get(&(stream, batch.sequence_start, batch.sequence_end))
        });
        of_range.map_or(&[], Vec::as_slice)
    }
}

/// Whether a commitment says what is anchored, under whatever id.
fn agree(batch: &AnchoredBatch, c: &Commitment) -> bool {
    batch.stream.is_none_or(|stream| stream == c.stream)
        && (c.sequence_start, c.sequence_end) == (batch.sequence_start, batch.sequence_end)
        && (c.merkle_root, c.new_state_root) == (batch.events_root, batch.state_root)
        && c.leaf_count == batch.event_count
}

/// Compares what is anchored with what the log has committed.
fn compare(view: &AnchorView, log: &LogCommitments, findings: &mut Vec<LintFinding>) {
    let committed = CommitmentIndex::new(&log.commitments);
    let mut anchored: HashSet<BatchId> = HashSet::new();
    for batch in view.streams.iter().flat_map(|stream| &stream.batches) {
        // Committed again after a replay, a batch has another id and the same roots.
        let again = committed.over(batch).iter().find(|c| agree(batch, c));
        anchored.extend(again.map(|c| c.batch_id));
        if committed.by_id.contains_key(&batch.batch_id) {
            anchored.insert(batch.batch_id);
        }
        findings.extend(disagreement(batch, &committed));
    }
    let rest = log.commitments.iter().filter(|c| !anchored.contains(&c.batch_id));
    findings.extend(rest.map(unanchored));
}

/// What the log says otherwise than an anchored batch, if it does.
fn disagreement(batch: &AnchoredBatch, committed: &CommitmentIndex<'_>) -> Option<LintFinding> {
    let range = (batch.sequence_start, batch.sequence_end);
    let others = committed.over(batch);
    let found = match (committed.by_id.get(&batch.batch_id), others.first()) {
        (Some(c), _) if agree(batch, c) => return None,
        (Some(c), _) => {
            let message = format!(
                "batch {} is anchored as {} to {} with root {}, and the log has committed it as {} to {} with root {}",
                batch.batch_id,
                range.0,
                range.1,
                batch.events_root,
                c.sequence_start,
                c.sequence_end,
                c.merkle_root
            );
            LintFinding::new(Code::AnchorConflict, message)
        }
        (None, _) if others.iter().any(|c| agree(batch, c)) => return None,
        (None, Some(other)) => {
            let message = format!(
                "{} to {} is anchored as batch {} with root {}, and the log has committed it as batch {} with root {}",
                range.0, range.1, batch.batch_id, batch.events_root, other.batch_id, other.merkle_root
            );
            LintFinding::new(Code::AnchorConflict, message)
        }
        (None, None) => {
            let message = format!(
                "batch {} is anchored, and the log has no commitment for it",
                batch.batch_id
            );
            LintFinding::new(Code::CommitmentMissing, message)
                .next("sequencer-recovery plan --db DB --anchors FILE")
        }
    };
    Some(found.of(batch.stream, range).batches([batch.batch_id]))
}

/// A commitment that no anchor is of.
fn unanchored(commitment: &Commitment) -> LintFinding {
    let noted = match commitment.chain_tx_hash {
        Some(transaction) => format!(", though the log says that it was, in transaction {transaction}"),
        None => String::new(),
    };
    let message = format!(
        "batch {} of the log is not among the anchors{noted}",
        commitment.batch_id
    );
    let range = (commitment.sequence_start, commitment.sequence_end);
    LintFinding::new(Code::CommitmentUnanchored, message)
        .of(Some(commitment.stream), range)
        .batches([commitment.batch_id])
}
