//! Examining one stream: what the log has, what it should have, and what is wrong. `audit` reports it and
//! `plan` builds on it, so both see the same.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use anchor_verify::AnchoredBatch;
use cli_common::{Cancel, Progress};
use event_log::{Commitment, LogError, Rows, StreamState, View};
use serde::Serialize;
use ves::{BatchId, Hash32, KeyRegistry, SequencerKeys, StreamKey, stream};

use crate::error::RecoveryError;
use crate::evidence::StreamEvidence;
use crate::facts::History;
use crate::finding::{Code, Finding};
use crate::floor::{self, BINDING, Witness};
use crate::gap::{self, Gap, GapKind};
use crate::grade::Grade;
use crate::placement::Target;
use crate::plan_file::PlannedBookkeeping;
use crate::scan::{BatchRange, BatchScan, Places, Scan, ScanInput, scan};
use crate::skipped::Skipped;

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

/// What is known of one stream.
#[derive(Debug, Clone)]
pub struct Examined {
    /// What the log has.
    pub state: StreamState,
    /// The highest number that any witness knows, claims included.
    pub head_known: u64,
    /// Missing positions.
    pub gaps: Vec<Gap>,
    /// The log's commitments by start.
    pub commitments: Vec<Commitment>,
    /// The anchored batches by start.
    pub anchored: Vec<AnchoredBatch>,
    /// Every batch known, by start.
    pub batches: Vec<Batch>,
    /// Batches with a known root and missing events.
    pub targets: Vec<Target>,
    /// Everybody who knows of a number.
    pub witnesses: Vec<Witness>,
    /// What the pass over the events found.
    pub scan: Scan,
    /// What follows from the events and is wrong beside them.
    pub bookkeeping: PlannedBookkeeping,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// What was not checked.
    pub not_checked: Vec<String>,
    /// Checks that were left out for a reason that other streams may share.
    pub skipped: Skipped,
}

/// What the examination of any stream needs to know.
pub struct ExamineInput<'a> {
    /// The agents' keys.
    pub keys: &'a KeyRegistry,
    /// The sequencer's public keys, as far as they were given.
    pub sequencer_keys: &'a SequencerKeys,
    /// Whether an anchors file was given at all.
    pub anchors_given: bool,
}

/// So many gaps of one stream are findings of their own; the rest are summed up in one.
const LISTED_GAPS: usize = 200;

/// Examines one stream.
///
/// # Errors
/// What the log's database says; [`RecoveryError::Cancelled`].
pub async fn examine(
    view: &mut View,
    state: StreamState,
    evidence: &StreamEvidence,
    anchored: Vec<AnchoredBatch>,
    input: &ExamineInput<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Examined, RecoveryError> {
    let stream = state.stream;
    let commitments = view.commitments(&stream).await?;
    let mut findings: Vec<Finding> = commitments
        .unreadable
        .iter()
        .map(|e| Finding::new(Code::EventUnreadable, e.to_string()).stream(stream))
        .collect();
    if state.misnumbered > 0 {
        let message = format!(
            "{} event(s) have a number below 1, which no event can have",
            state.misnumbered
        );
        findings.push(
            Finding::new(Code::EventUnreadable, message)
                .stream(stream)
                .count(state.misnumbered),
        );
    }
    let commitments = commitments.rows;
    let ranges: Vec<BatchRange> = commitments
        .iter()
        .map(|c| BatchRange {
            start: c.sequence_start,
            end: c.sequence_end,
            root: c.merkle_root,
        })
        .chain(anchored.iter().map(|a| BatchRange {
            start: a.sequence_start,
            end: a.sequence_end,
            root: a.events_root,
        }))
        .collect();
    let scan_input = ScanInput {
        keys: input.keys,
        sequencer_keys: input.sequencer_keys,
        commitments: &commitments,
        ranges: &ranges,
        history: History::wanted(evidence),
    };
    let scan = scan(view, &state, &scan_input, progress, cancel).await?;
    let witnesses = witnesses(&state, scan.tally.last_receipt, &commitments, &anchored, evidence);
    let head_known = witnesses.iter().map(|w| w.sequence).max().unwrap_or(0);
    let present = view.ranges_of(&state).await?;
    let mut examined = Examined {
        gaps: gap::gaps(&present, head_known),
        state,
        head_known,
        commitments,
        anchored,
        batches: Vec::new(),
        targets: Vec::new(),
        witnesses,
        scan,
        bookkeeping: PlannedBookkeeping::default(),
        findings,
        not_checked: Vec::new(),
        skipped: Skipped::default(),
    };
    examined.judge_gaps();
    examined.judge_counter();
    examined.judge_events();
    examined.judge_batches(input);
    examined.judge_state_chain();
    examined.judge_bookkeeping(view).await?;
    let contradicted: u64 = evidence.contradicted_claims.values().sum();
    if contradicted > 0 {
        let message = format!(
            "{contradicted} claim(s) of outboxes name another number than the log has for the same event; the log's \
             number stands"
        );
        let finding = examined
            .finding(Code::ClaimContradicted, message)
            .count(contradicted);
        examined.findings.push(finding);
    }
    Ok(examined)
}

/// Everybody who knows of a number that this stream gave out. `last_receipt` is the highest number of its receipts.
pub fn witnesses(
    state: &StreamState,
    last_receipt: Option<u64>,
    commitments: &[Commitment],
    anchored: &[AnchoredBatch],
    evidence: &StreamEvidence,
) -> Vec<Witness> {
    let mut all = Vec::new();
    let mut add = |sequence: Option<u64>, grade: Grade, who: String| {
        if let Some(sequence) = sequence.filter(|s| *s > 0) {
            all.push(Witness {
                sequence,
                grade,
                who,
                identity: String::new(),
            });
        }
    };
    add(state.last, Grade::Committed, "the log's events".into());
    add(state.counter, Grade::Committed, COUNTER_WITNESS.into());
    add(last_receipt, Grade::Committed, "the log's receipts".into());
    if let Some(last) = commitments.iter().max_by_key(|c| c.sequence_end) {
        add(
            Some(last.sequence_end),
            Grade::Committed,
            format!("the log's commitment {}", last.batch_id),
        );
    }
    if let Some(last) = anchored.iter().max_by_key(|a| a.sequence_end) {
        add(
            Some(last.sequence_end),
            Grade::Proven,
            format!("anchored batch {}", last.batch_id),
        );
    }
    all.extend(floor::corroborated(&evidence.witnesses));
    all.extend(evidence.witnesses.iter().cloned());
    all
}

impl Examined {
    fn stream(&self) -> StreamKey {
        self.state.stream
    }

    fn finding(&self, code: Code, message: impl Into<String>) -> Finding {
        Finding::new(code, message).stream(self.state.stream)
    }

    /// The anchored batches with what the pass over the events made of each.
    pub(crate) fn anchored_scans(&self) -> impl Iterator<Item = (&AnchoredBatch, &BatchScan)> {
        let (_, of_anchors) = self
            .scan
            .batches
            .split_at(self.scan.batches.len() - self.anchored.len());
        self.anchored.iter().zip(of_anchors)
    }

    /// How many positions are missing.
    pub fn missing(&self) -> u64 {
        self.gaps.iter().map(Gap::count).fold(0, u64::saturating_add)
    }

    /// The missing positions as ranges.
    pub fn missing_ranges(&self) -> Vec<RangeInclusive<u64>> {
        self.gaps.iter().map(Gap::range).collect()
    }

    /// The strongest witness that knows of `sequence`.
    fn who_knows(&self, sequence: u64) -> Option<&Witness> {
        self.witnesses
            .iter()
            .filter(|w| w.sequence >= sequence)
            .max_by_key(|w| (w.grade, w.sequence))
    }

    fn judge_gaps(&mut self) {
        let listed = self.gaps.iter().take(LISTED_GAPS).map(|gap| {
            let code = match gap.kind {
                GapKind::Leading => Code::GapLeading,
                GapKind::Interior => Code::GapInterior,
                GapKind::Tail => Code::GapTail,
            };
            let count = gap.count();
            let message = match (gap.kind, self.who_knows(gap.to)) {
                (GapKind::Tail, Some(witness)) => format!(
                    "{count} number(s) after the last event were given out: {} is known to {} ({})",
                    gap.to, witness.who, witness.grade
                ),
                _ => format!("{count} event(s) are missing"),
            };
            self.finding(code, message)
                .range(gap.from, gap.to)
                .next(NEXT_PLAN)
        });
        let mut findings: Vec<Finding> = listed.collect();
        if let Some((first, last)) = self.gaps.get(LISTED_GAPS).zip(self.gaps.last()) {
            let more = self.gaps.len() - LISTED_GAPS;
            let count = self.gaps[LISTED_GAPS..]
                .iter()
                .map(Gap::count)
                .fold(0, u64::saturating_add);
            let message = format!("{more} more gaps with {count} missing event(s)");
            let finding = self
                .finding(Code::GapInterior, message)
                .range(first.from, last.to)
                .count(count);
            findings.push(finding.next(NEXT_PLAN));
        }
        self.findings.extend(findings);
    }

    fn judge_counter(&mut self) {
        let others: Vec<&Witness> = self
            .witnesses
            .iter()
            .filter(|w| w.who != COUNTER_WITNESS)
            .collect();
        let Some(highest) = others.iter().max_by_key(|w| (w.sequence, w.grade)) else {
            if let Some(counter) = self.state.counter.filter(|c| *c > 0) {
                let message = format!("the counter is {counter}, and no witness knows of any event");
                let finding = self.finding(Code::CounterAhead, message);
                self.findings.push(finding);
            }
            return;
        };
        let bound = others
            .iter()
            .filter(|w| w.grade >= BINDING)
            .max_by_key(|w| w.sequence);
        let finding = match self.state.counter {
            None => self.finding(
                Code::CounterMissing,
                format!(
                    "there is no counter; numbers up to {} are known to {}",
                    highest.sequence, highest.who
                ),
            ),
            Some(counter) if counter < highest.sequence => {
                let proof = match bound {
                    Some(b) if b.sequence > counter && b.sequence < highest.sequence => {
                        format!("; {} is certain, by {}", b.sequence, b.who)
                    }
                    _ => String::new(),
                };
                self.finding(
                    Code::CounterBehind,
                    format!(
                        "the counter is {counter}, and {} is known to {} ({}){proof}",
                        highest.sequence, highest.who, highest.grade
                    ),
                )
                .range(counter + 1, highest.sequence)
            }
            Some(counter) if counter > highest.sequence => self
                .finding(
                    Code::CounterAhead,
                    format!(
                        "the counter is {counter}, and nobody knows of a number above {}",
                        highest.sequence
                    ),
                )
                .range(highest.sequence + 1, counter),
            Some(_) => return,
        };
        self.findings.push(finding.next(NEXT_COUNTERS));
    }

    fn judge_events(&mut self) {
        let tally = &self.scan.tally;
        let kinds: [(Code, &Places, &str); 8] = [
            (
                Code::EventTombstone,
                &tally.tombstones,
                "position(s) are filled with tombstones",
            ),
            (
                Code::EventSigningHash,
                &tally.signing_hash,
                "stored signing hash(es) are not those of the fields",
            ),
            (
                Code::EventPayloadHash,
                &tally.payload_hash,
                "stored payload hash(es) are not those of the payload",
            ),
            (
                Code::EventSignature,
                &tally.signature,
                "agent signature(s) do not hold",
            ),
            (
                Code::EventKey,
                &tally.key,
                "event(s) have a key that is unknown or was not valid",
            ),
            (
                Code::ReceiptMissing,
                &tally.receipt_missing,
                "event(s) have no receipt",
            ),
            (
                Code::ReceiptMismatch,
                &tally.receipt_mismatch,
                "receipt(s) do not fit their event",
            ),
            (
                Code::ReceiptSignature,
                &tally.receipt_signature,
                "receipt signature(s) do not hold",
            ),
        ];
        let mut findings = self.unreadable();
        for (code, places, what) in kinds {
            let (Some(first), Some(last)) = (places.positions.first(), places.positions.last()) else {
                continue;
            };
            let example = places
                .example
                .as_deref()
                .map(|e| format!(" (first: {e})"))
                .unwrap_or_default();
            let message = format!("{} {what}: at {}{example}", places.count, places.describe());
            findings.push(
                self.finding(code, message)
                    .range(*first, *last)
                    .count(places.count),
            );
        }
        let stream = self.stream();
        let skipped = &mut self.skipped;
        for (why, count) in &tally.signatures_not_checked {
            skipped.add(stream, "agent signature(s)", why, *count);
        }
        for (why, count) in &tally.receipt_signatures_not_checked {
            skipped.add(stream, "receipt signature(s)", why, *count);
        }
        if tally.encrypted > 0 {
            let why = "it takes the recipients' keys";
            skipped.add(
                stream,
                "plaintext hash(es) of encrypted payloads",
                why,
                tally.encrypted,
            );
        }
        self.findings.extend(findings);
    }

    /// Each row that cannot be read, with its place. It is there, and nothing of it is lost or to be filled.
    fn unreadable(&self) -> Vec<Finding> {
        let tally = &self.scan.tally;
        let row = |(position, what): &(u64, String)| {
            let message = format!("the row is there and cannot be read: {what}");
            let finding = self.finding(Code::EventUnreadable, message);
            if *position == 0 {
                finding
            } else {
                finding.range(*position, *position)
            }
        };
        let mut findings: Vec<Finding> = tally.unreadable_rows.iter().map(row).collect();
        let more = tally.unreadable.count - tally.unreadable_rows.len() as u64;
        if more > 0 {
            let message = format!("{more} more rows are there and cannot be read");
            findings.push(self.finding(Code::EventUnreadable, message).count(more));
        }
        for (position, what) in &tally.unreadable_payloads {
            let message = format!("the payload cannot be read: {what}");
            findings.push(
                self.finding(Code::EventUnreadable, message)
                    .range(*position, *position),
            );
        }
        if tally.repeated.count > 0 {
            let message = format!(
                "{} row(s) of the stream come with a number that another row has, at {}: only the first of each was looked at",
                tally.repeated.count,
                tally.repeated.describe()
            );
            findings.push(
                self.finding(Code::EventDuplicate, message)
                    .count(tally.repeated.count),
            );
        }
        findings
    }

    /// How many positions of a range have a row that cannot be read.
    pub(crate) fn unreadable_in(&self, start: u64, end: u64) -> u64 {
        let positions = &self.scan.tally.unreadable.positions;
        let mut inside: Vec<u64> = positions
            .iter()
            .copied()
            .filter(|p| (start..=end).contains(p))
            .collect();
        inside.dedup();
        inside.len() as u64
    }

    /// Judges each batch by the root of the stored events, and remembers those whose root can decide
    /// about missing ones.
    fn judge_batches(&mut self, input: &ExamineInput<'_>) {
        // The scan's batches: first the commitments, then the anchors, in this order.
        let (of_commitments, of_anchors) = self.scan.batches.split_at(self.commitments.len());
        let mut findings = Vec::new();
        let mut batches: BTreeMap<(u64, u64, BatchId), Batch> = BTreeMap::new();
        let mut targets: BTreeMap<(u64, u64, Hash32), Target> = BTreeMap::new();
        for (c, scanned) in self.commitments.iter().zip(of_commitments) {
            let width = width(c.sequence_start, c.sequence_end);
            if u64::from(c.leaf_count) != width {
                let message = format!(
                    "commitment {} counts {} events over {width} number(s)",
                    c.batch_id, c.leaf_count
                );
                findings.push(
                    self.finding(Code::CommitmentGap, message)
                        .range(c.sequence_start, c.sequence_end),
                );
            }
            let unreadable = self.unreadable_in(c.sequence_start, c.sequence_end);
            let missing = width.saturating_sub(scanned.present).saturating_sub(unreadable);
            let verdict = match scanned.root {
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
                    findings.push(
                        self.finding(Code::CommitmentRoot, message)
                            .range(c.sequence_start, c.sequence_end),
                    );
                    BatchVerdict::Failed
                }
            };
            let range = (c.sequence_start, c.sequence_end);
            if unreadable == 0 {
                add_target(
                    &mut targets,
                    scanned,
                    c.batch_id,
                    range,
                    c.merkle_root,
                    Grade::Committed,
                );
            }
            batches.insert(
                (c.sequence_start, c.sequence_end, c.batch_id),
                Batch {
                    batch_id: c.batch_id,
                    sequence_start: c.sequence_start,
                    sequence_end: c.sequence_end,
                    committed: true,
                    anchored: false,
                    missing,
                    verdict,
                },
            );
        }
        for (a, scanned) in self.anchored.iter().zip(of_anchors) {
            let width = width(a.sequence_start, a.sequence_end);
            // What cannot be read is there, and no root can tell which event it is.
            let unreadable = self.unreadable_in(a.sequence_start, a.sequence_end);
            let commitment = self.commitments.iter().find(|c| {
                c.batch_id == a.batch_id
                    || (c.sequence_start == a.sequence_start && c.sequence_end == a.sequence_end)
            });
            match commitment {
                Some(c) if c.merkle_root != a.events_root || c.new_state_root != a.state_root => {
                    let message = format!(
                        "batch {} is anchored with root {} and state root {}, commitment {} has {} and {}",
                        a.batch_id, a.events_root, a.state_root, c.batch_id, c.merkle_root, c.new_state_root
                    );
                    findings.push(
                        self.finding(Code::AnchorConflict, message)
                            .range(a.sequence_start, a.sequence_end),
                    );
                }
                Some(_) => {}
                None => {
                    let message = format!(
                        "batch {} is anchored, and the log has no commitment for it",
                        a.batch_id
                    );
                    findings.push(
                        self.finding(Code::CommitmentMissing, message)
                            .range(a.sequence_start, a.sequence_end)
                            .count(1)
                            .next(NEXT_PLAN),
                    );
                }
            }
            let verdict = match scanned.root {
                None => BatchVerdict::NotChecked,
                Some(root) if root == a.events_root => BatchVerdict::MatchesAnchors,
                Some(root) => {
                    let message = format!(
                        "the stored events {}-{} give the root {root}, batch {} was anchored with {}: numbers were \
                         given out twice, or events were altered",
                        a.sequence_start, a.sequence_end, a.batch_id, a.events_root
                    );
                    findings.push(
                        self.finding(Code::Reissue, message)
                            .range(a.sequence_start, a.sequence_end),
                    );
                    BatchVerdict::Failed
                }
            };
            // Anchors that contradict each other prove nothing until somebody has decided between them.
            if !a.contested && unreadable == 0 {
                let range = (a.sequence_start, a.sequence_end);
                add_target(
                    &mut targets,
                    scanned,
                    a.batch_id,
                    range,
                    a.events_root,
                    Grade::Proven,
                );
            }
            let batch = batches
                .entry((a.sequence_start, a.sequence_end, a.batch_id))
                .or_insert(Batch {
                    batch_id: a.batch_id,
                    sequence_start: a.sequence_start,
                    sequence_end: a.sequence_end,
                    committed: commitment.is_some(),
                    anchored: true,
                    missing: width.saturating_sub(scanned.present).saturating_sub(unreadable),
                    verdict,
                });
            batch.anchored = true;
            // A commitment with the right root beside an anchor with another is a failure, whichever came first.
            batch.verdict = match (batch.verdict, verdict) {
                (BatchVerdict::Failed, _) | (_, BatchVerdict::Failed) => BatchVerdict::Failed,
                (_, anchors) => anchors,
            };
        }
        if input.anchors_given {
            for batch in batches.values().filter(|b| b.committed && !b.anchored) {
                let message = format!("commitment {} is not among the given anchors", batch.batch_id);
                findings.push(
                    self.finding(Code::CommitmentUnanchored, message)
                        .range(batch.sequence_start, batch.sequence_end)
                        .count(1),
                );
            }
        }
        let mut covered: Option<u64> = None;
        for batch in &self.anchored {
            if let Some(end) = covered.filter(|end| batch.sequence_start > end.saturating_add(1)) {
                let message = format!("nothing is anchored between {end} and {}", batch.sequence_start);
                findings.push(
                    self.finding(Code::AnchorGap, message)
                        .range(end + 1, batch.sequence_start - 1),
                );
            }
            covered = covered.max(Some(batch.sequence_end));
        }
        self.targets = targets.into_values().collect();
        self.batches = batches.into_values().collect();
        self.findings.extend(findings);
    }

    /// Each commitment must start where the one before ended, and its state root must follow.
    fn judge_state_chain(&mut self) {
        let mut findings = Vec::new();
        let mut previous: Option<&Commitment> = None;
        for c in &self.commitments {
            let expected_prev = previous.map_or(stream::GENESIS_STATE_ROOT, |p| p.new_state_root);
            if let Some(p) = previous.filter(|p| p.sequence_end + 1 != c.sequence_start) {
                let message = format!(
                    "commitment {} starts at {}, the one before ended at {}",
                    c.batch_id, c.sequence_start, p.sequence_end
                );
                findings.push(
                    self.finding(Code::CommitmentGap, message)
                        .range(c.sequence_start, c.sequence_end)
                        .count(1),
                );
            }
            if c.prev_state_root != expected_prev {
                let message = format!(
                    "commitment {} does not continue the state root of the one before",
                    c.batch_id
                );
                findings.push(
                    self.finding(Code::CommitmentStateRoot, message)
                        .range(c.sequence_start, c.sequence_end)
                        .count(1),
                );
            }
            let state = stream::state_root(
                &c.stream,
                &c.prev_state_root,
                &c.merkle_root,
                c.sequence_start,
                c.sequence_end,
                c.leaf_count,
            );
            if state != c.new_state_root {
                let message = format!(
                    "commitment {} has the state root {}, its fields give {state}",
                    c.batch_id, c.new_state_root
                );
                findings.push(
                    self.finding(Code::CommitmentStateRoot, message)
                        .range(c.sequence_start, c.sequence_end)
                        .count(1),
                );
            }
            previous = Some(c);
        }
        self.findings.extend(findings);
    }

    /// The tables beside the log that follow from it.
    /// The rows that can be read; each of the others is a finding.
    fn readable<T>(&mut self, found: Rows<T>) -> Vec<T> {
        for row in found.unreadable {
            let message = format!("{}: {}", row.table, row.what);
            let finding = self.finding(Code::EventUnreadable, message);
            self.findings.push(finding);
        }
        found.rows
    }

    async fn judge_bookkeeping(&mut self, view: &mut View) -> Result<(), RecoveryError> {
        let stream = self.stream();
        self.bookkeeping
            .receipts
            .clone_from(&self.scan.tally.receipts_to_make);
        let orphans = view.dedupe_orphans(&stream).await?;
        let orphans = self.readable(orphans);
        self.bookkeeping.forget = orphans.iter().map(|o| o.command_id).collect();
        if let Some(first) = orphans.first() {
            let message = format!(
                "{} command id(s) are recorded as used, and no event carries them (first: {}); their events \
                 can never be pushed again",
                orphans.len(),
                first.command_id
            );
            let finding = self
                .finding(Code::DedupeOrphan, message)
                .count(orphans.len() as u64);
            self.findings.push(finding);
        }
        let missing = view.dedupe_missing(&stream).await?;
        let missing = self.readable(missing);
        self.bookkeeping.remember = missing
            .iter()
            .map(|m| (m.command_id, m.sequence_number))
            .collect();
        if let Some(first) = missing.first() {
            let message = format!(
                "{} command id(s) of events are not recorded as used (first: {} at {})",
                missing.len(),
                first.command_id,
                first.sequence_number
            );
            let finding = self
                .finding(Code::DedupeMissing, message)
                .count(missing.len() as u64);
            self.findings.push(finding);
        }
        let drift = view.version_drift(&stream).await?;
        let drift = self.readable(drift);
        self.bookkeeping.raise_versions = drift
            .iter()
            .filter(|d| {
                d.version
                    .is_none_or(|v| u64::try_from(v).is_ok_and(|v| v < d.events))
            })
            .map(|d| d.entity.clone())
            .collect();
        if let Some(first) = drift.first() {
            let message = format!(
                "{} entity version(s) are not the number of the entity's events (first: {} {}: version {}, {} event(s))",
                drift.len(),
                first.entity.entity_type,
                first.entity.entity_id,
                first.version.map_or("none".to_owned(), |v| v.to_string()),
                first.events
            );
            let finding = self
                .finding(Code::VersionDrift, message)
                .count(drift.len() as u64);
            self.findings.push(finding);
        }
        let checkpoint = match view.projection_checkpoint(&stream).await {
            Err(LogError::Row(row)) => self.readable(Rows {
                rows: Vec::new(),
                unreadable: vec![row],
            }),
            checkpoint => checkpoint?.into_iter().collect(),
        };
        if let Some(checkpoint) = checkpoint.first().copied() {
            let last = self.state.last.unwrap_or(0);
            let first_gap = self.gaps.first().map(|g| g.from);
            if checkpoint > last || first_gap.is_some_and(|gap| gap <= checkpoint) {
                let from = first_gap.unwrap_or(last + 1).min(last + 1);
                self.bookkeeping.projection = Some(from - 1);
                let message = format!(
                    "a projection has got to {checkpoint}, and {from} is missing: it will not see what is refilled"
                );
                let finding = self
                    .finding(Code::ProjectionAhead, message)
                    .range(from, checkpoint.max(from));
                self.findings.push(finding);
            }
        }
        Ok(())
    }
}

/// How many positions a range has; 0 if it ends before it starts.
fn width(start: u64, end: u64) -> u64 {
    end.checked_sub(start).map_or(0, |n| n.saturating_add(1))
}

/// A batch whose events are not all there can be decided by its root. An anchored root replaces the
/// database's own of the same value.
fn add_target(
    targets: &mut BTreeMap<(u64, u64, Hash32), Target>,
    scanned: &BatchScan,
    batch_id: BatchId,
    (start, end): (u64, u64),
    root: Hash32,
    grade: Grade,
) {
    if scanned.root.is_some() || end < start {
        return;
    }
    let target = Target {
        batch_id,
        range: start..=end,
        root,
        grade,
        present: scanned.leaves.clone(),
        times: scanned.times.clone(),
    };
    targets.insert((start, end, root), target);
}

const COUNTER_WITNESS: &str = "the log's counter";
const NEXT_PLAN: &str = "sequencer-recovery plan --out PLAN, with the same --db, --outbox and --anchors";
const NEXT_COUNTERS: &str =
    "sequencer-recovery counters, with the same options, for the counters alone (a plan raises them too)";
