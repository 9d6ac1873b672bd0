//! Examining one stream: what the log has, what it should have, and what is wrong. `audit` reports it and
//! `plan` builds on it, so both see the same.

use std::ops::RangeInclusive;

use anchor_verify::AnchoredBatch;
use anchor_verify::rules::AnchoredAt;
use cli_common::{Cancel, Progress};
use event_log::{Commitment, StreamState, View};
use ves::span::{Span, Spans};
use ves::{KeyRegistry, SequencerKeys, StreamKey};

use crate::error::RecoveryError;
use crate::finding::{Code, Finding, Remedy};
use crate::floor::{self, BINDING, Witness};
use crate::gap::{self, Gap, GapKind};
use crate::grade::Grade;
use crate::skipped::Skipped;
use crate::stream::batches::{self, Batch, BatchJudge};
use crate::stream::bookkeeping::{Bookkeeping, KeptRows, StreamReach};
use crate::stream::checkpointed::Checkpointed;
use crate::stream::facts;
use crate::stream::proof_reach::ProofReach;
use crate::stream::raised::{COUNTER_WITNESS, Raised, counter_witnesses};
use crate::stream::scan::{BatchRange, BatchScan, Pass, Scan, ScanInput, Tally};
use crate::stream::target::Target;
use crate::witness::evidence::StreamEvidence;

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
    /// Whether the counter stands where this toolkit put it.
    pub raised: Option<Raised>,
    /// What the pass over the events found.
    pub scan: Scan,
    /// What checkpoints say of it.
    pub checkpointed: Checkpointed,
    /// What follows from the events and is wrong beside them.
    pub bookkeeping: Bookkeeping,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// The places on the chain that its commitments name.
    pub places: batches::ChainPlaces,
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
    /// The chain that the anchors are of, if the file says so.
    pub chain_id: Option<u64>,
    /// Who hears how far it is.
    pub progress: &'a dyn Progress,
    /// Who may stop it.
    pub cancel: &'a Cancel,
}

/// So many gaps of one stream are findings of their own; the rest are summed up in one.
const LISTED_GAPS: usize = 200;

/// The ranges whose roots are wanted: those of the log's own commitments first, then the anchored ones.
pub(super) fn ranges(commitments: &[Commitment], anchored: &[AnchoredBatch]) -> Vec<BatchRange> {
    let of_log = commitments.iter().map(|c| BatchRange {
        start: c.sequence_start,
        end: c.sequence_end,
        root: c.merkle_root,
        anchored_at: None,
    });
    let of_chain = anchored.iter().map(|a| BatchRange {
        start: a.sequence_start,
        end: a.sequence_end,
        root: a.events_root,
        anchored_at: AnchoredAt::first(a),
    });
    of_log.chain(of_chain).collect()
}

/// Examines one stream.
///
/// # Errors
/// What the log's database says; [`RecoveryError::Cancelled`].
pub async fn examine(
    view: &mut View,
    state: StreamState,
    evidence: &StreamEvidence,
    anchored: Vec<AnchoredBatch>,
    checkpointed: Checkpointed,
    input: &ExamineInput<'_>,
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
            "{} event(s) have no number, or one below 1, which no event can have",
            state.misnumbered
        );
        findings.push(
            Finding::new(Code::EventUnreadable, message)
                .stream(stream)
                .count(state.misnumbered),
        );
    }
    let commitments = commitments.rows;
    let ranges = ranges(&commitments, &anchored);
    let scan_input = ScanInput {
        keys: input.keys,
        sequencer_keys: input.sequencer_keys,
        commitments: &commitments,
        ranges: &ranges,
        history: facts::EntityHistory::wanted(evidence),
        checkpointed: &checkpointed,
    };
    let pass = Pass::read(view, &state, &scan_input, input.progress, input.cancel).await?;
    // Asked while the last events are being verified.
    let raised = Raised::of(view, &stream, state.counter).await?;
    let present = present(view, &state, evidence).await?;
    let kept = KeptRows::read(view, &stream).await?;
    let mut scan = pass.finish();
    input.cancel.check()?;
    scan.note_damaged(&evidence.damaged);
    let known = NumberSources {
        state: &state,
        raised: raised.as_ref(),
        last_receipt: scan.tally.last_receipt,
        commitments: &commitments,
        anchored: &anchored,
        checkpointed: &checkpointed,
        evidence,
    };
    let witnesses = known.witnesses();
    let head_known = witnesses.iter().map(|w| w.sequence).max().unwrap_or(0);
    let mut examined = Examined {
        gaps: gap::gaps(&present, head_known),
        state,
        head_known,
        commitments,
        anchored,
        batches: Vec::new(),
        targets: Vec::new(),
        witnesses,
        raised,
        scan,
        checkpointed,
        bookkeeping: Bookkeeping::default(),
        findings,
        places: batches::ChainPlaces::default(),
        not_checked: Vec::new(),
        skipped: Skipped::default(),
    };
    examined.judge_gaps();
    examined.judge_counter();
    examined.judge_events();
    examined.judge_batches(input);
    let last = examined.state.last.unwrap_or(0);
    let against = examined
        .checkpointed
        .judge_log(&stream, last, &examined.scan.tree);
    examined.findings.extend(against);
    examined.judge_bookkeeping(kept);
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

/// The numbers that are there, those among them of rows that do not say all of where they stand.
async fn present(
    view: &mut View,
    state: &StreamState,
    evidence: &StreamEvidence,
) -> Result<Vec<RangeInclusive<u64>>, RecoveryError> {
    let readable = view.ranges_of(state).await?.into_iter();
    let mut present: Spans = readable.filter_map(|range| Span::try_from(range).ok()).collect();
    present.extend(evidence.damaged.keys().map(|position| Span::at(*position)));
    Ok(present.into())
}

/// What knows of numbers that a stream gave out.
pub(crate) struct NumberSources<'a> {
    /// The stream's rows and counter.
    pub(crate) state: &'a StreamState,
    /// Whether the counter is our own writing.
    pub(crate) raised: Option<&'a Raised>,
    /// The highest number of its receipts.
    pub(crate) last_receipt: Option<u64>,
    pub(crate) commitments: &'a [Commitment],
    pub(crate) anchored: &'a [AnchoredBatch],
    pub(crate) checkpointed: &'a Checkpointed,
    pub(crate) evidence: &'a StreamEvidence,
}

impl NumberSources<'_> {
    /// Everybody who knows of a number.
    pub(crate) fn witnesses(&self) -> Vec<Witness> {
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
        add(self.state.last, Grade::Committed, "the log's events".into());
        for counter in counter_witnesses(self.state.counter, self.raised) {
            add(Some(counter.sequence), counter.grade, counter.who);
        }
        add(self.last_receipt, Grade::Committed, "the log's receipts".into());
        if let Some(last) = self.commitments.iter().max_by_key(|c| c.sequence_end) {
            add(
                Some(last.sequence_end),
                Grade::Committed,
                format!("the log's commitment {}", last.batch_id),
            );
        }
        if let Some(last) = self.anchored.iter().max_by_key(|a| a.sequence_end) {
            add(
                Some(last.sequence_end),
                Grade::Proven,
                format!("anchored batch {}", last.batch_id),
            );
        }
        all.extend(self.checkpointed.witnesses().iter().cloned());
        all.extend(floor::corroborated(&self.evidence.witnesses));
        all.extend(self.evidence.witnesses.iter().cloned());
        all
    }
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

    /// How far anchors and checkpoints prove it.
    pub(crate) fn proof_reach(&self) -> ProofReach {
        ProofReach::of(&self.anchored, &self.checkpointed, self.head_known)
    }

    /// How many positions are missing.
    pub fn missing(&self) -> u64 {
        self.gaps.iter().map(Gap::count).fold(0, u64::saturating_add)
    }

    /// The missing positions.
    pub fn missing_spans(&self) -> Spans {
        self.gaps.iter().filter_map(Gap::span).collect()
    }

    /// The strongest witness that knows of `sequence`.
    fn who_knows(&self, sequence: u64) -> Option<&Witness> {
        self.witnesses
            .iter()
            .filter(|w| w.sequence >= sequence)
            .max_by_key(|w| (w.grade, w.sequence))
    }

    fn judge_batches(&mut self, input: &ExamineInput<'_>) {
        let mut judge = BatchJudge::new(self.state.stream, &self.scan);
        judge.commitments(&self.commitments);
        judge.anchors(&self.anchored, &self.commitments);
        self.places = judge.anchoring(&self.anchored, &self.commitments, input.chain_id);
        judge.coverage(&self.anchored, input.anchors_given);
        judge.state_chain(None, &self.commitments);
        (self.batches, self.targets) = judge.batches();
        self.findings.append(&mut judge.findings);
        self.not_checked.append(&mut judge.not_checked);
    }

    fn judge_bookkeeping(&mut self, kept: KeptRows) {
        let stands = StreamReach {
            stream: self.state.stream,
            last: self.state.last,
            first_gap: self.gaps.first().map(|gap| gap.from),
        };
        self.bookkeeping = Bookkeeping::of(kept, stands, &mut self.findings);
        self.bookkeeping
            .receipts
            .clone_from(&self.scan.tally.receipts_to_make);
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
                .remedy(Remedy::Plan)
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
            findings.push(finding.remedy(Remedy::Plan));
        }
        self.findings.extend(findings);
    }

    fn judge_counter(&mut self) {
        let others: Vec<&Witness> = self
            .witnesses
            .iter()
            .filter(|w| {
                w.who != COUNTER_WITNESS && self.raised.as_ref().is_none_or(|raised| w.who != raised.who())
            })
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
            Some(counter) if counter > highest.sequence && self.raised.is_some() => {
                let raised = self.raised.as_ref().map(Raised::who).unwrap_or_default();
                let message = format!(
                    "the counter is {counter}, by {raised}; of the witnesses given here nobody knows of a number above {}",
                    highest.sequence
                );
                let finding = self.finding(Code::CounterAhead, message);
                finding.range(highest.sequence + 1, counter)
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
        self.findings.push(match finding.code {
            // Nothing that could be run helps: a counter is never lowered.
            Code::CounterAhead => finding,
            _ => finding.remedy(Remedy::Plan),
        });
    }

    fn judge_events(&mut self) {
        let findings = of_events(self.state.stream, &self.scan.tally);
        self.findings.extend(findings);
        self.note_skipped();
    }

    /// Checks of events that were left out.
    fn note_skipped(&mut self) {
        let stream = self.stream();
        let tally = &self.scan.tally;
        let skipped = &mut self.skipped;
        for (why, count) in &tally.signatures_not_checked {
            skipped.add(stream, "agent signature(s)", why, *count);
        }
        for (why, count) in &tally.receipt_signatures_not_checked {
            skipped.add(stream, "receipt signature(s)", why, *count);
        }
        if tally.created_at_unknown > 0 {
            let why = "the text that was signed is no time that is known";
            skipped.add(stream, "column(s) created_at", why, tally.created_at_unknown);
        }
        if tally.sequenced_before > 0 {
            let why = "it is said to be before that of the number before";
            skipped.add(stream, "time(s) of sequencing", why, tally.sequenced_before);
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
    }
}

/// What is wrong with the events that a pass read.
pub(super) fn of_events(stream: StreamKey, tally: &Tally) -> Vec<Finding> {
    let kinds = [
        (
            Code::EventSigningHash,
            "stored signing hash(es) are not those of the fields",
        ),
        (
            Code::EventPayloadHash,
            "stored payload hash(es) are not those of the payload",
        ),
        (
            Code::EventCreatedAt,
            "column(s) created_at are not the moment of the text that was signed",
        ),
        (
            Code::EventSequencedAt,
            "event(s) are said to be sequenced after their batch was anchored",
        ),
        (Code::EventSignature, "agent signature(s) do not hold"),
        (
            Code::EventKey,
            "event(s) have a key that is unknown or was not valid",
        ),
        (Code::ReceiptMissing, "event(s) have no receipt"),
        (Code::ReceiptMismatch, "receipt(s) do not fit their event"),
        (Code::ReceiptSignature, "receipt signature(s) do not hold"),
    ];
    let kinds = kinds.map(|(code, what)| (code, tally.wrong.get(&code), what));
    let tombstones = "position(s) are filled with tombstones";
    let tombstones = (Code::EventTombstone, Some(&tally.tombstones), tombstones);
    let mut findings = of_unreadable(stream, tally);
    for (code, places, what) in std::iter::once(tombstones).chain(kinds) {
        let Some(places) = places else { continue };
        let (Some(first), Some(last)) = (places.positions.first(), places.positions.last()) else {
            continue;
        };
        let example = places
            .example
            .as_deref()
            .map(|e| format!(" (first: {e})"))
            .unwrap_or_default();
        let message = format!("{} {what}: at {}{example}", places.count, places.describe());
        let finding = Finding::new(code, message).stream(stream);
        findings.push(finding.range(*first, *last).count(places.count));
    }
    findings
}

/// Each row that cannot be read, with its place. It is there, and nothing of it is lost or to be filled.
fn of_unreadable(stream: StreamKey, tally: &Tally) -> Vec<Finding> {
    let finding = |code, message: String| Finding::new(code, message).stream(stream);
    let row = |(position, what): &(u64, String)| {
        let message = format!("the row is there and cannot be read: {what}");
        let finding = finding(Code::EventUnreadable, message);
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
        findings.push(finding(Code::EventUnreadable, message).count(more));
    }
    for (position, what) in &tally.unreadable_payloads {
        let message = format!("the payload cannot be read: {what}");
        findings.push(finding(Code::EventUnreadable, message).range(*position, *position));
    }
    let more = tally.count(Code::EventUnreadable) - tally.unreadable_payloads.len() as u64;
    if more > 0 {
        let message = format!("{more} more payloads cannot be read");
        findings.push(finding(Code::EventUnreadable, message).count(more));
    }
    if tally.repeated.count > 0 {
        let message = format!(
            "{} row(s) of the stream come with a number that another row has, at {}: only the first of each was looked at",
            tally.repeated.count,
            tally.repeated.describe()
        );
        findings.push(finding(Code::EventDuplicate, message).count(tally.repeated.count));
    }
    findings
}
