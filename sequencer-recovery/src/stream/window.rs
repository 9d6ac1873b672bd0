//! A part of a stream, judged as an audit judges the whole of it: the rows of a range, and the batches that lie in it.

use std::collections::BTreeMap;

use anchor_verify::{AnchoredBatch, rules};
use cli_common::{Cancel, NoProgress};
use event_log::{Commitment, StreamState, View};
use ves::span::Span;
use ves::{Hash32, KeyRegistry, SequencerKeys, StreamKey};

use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::stream::batches::BatchJudge;
use crate::stream::checkpointed::Checkpointed;
use crate::stream::examine::{of_events, ranges};
use crate::stream::facts::EntityHistory;
use crate::stream::scan::{BatchRange, Pass, ScanInput};

/// What the rows are judged by.
pub struct WindowInput<'a> {
    /// The agents' keys.
    pub keys: &'a KeyRegistry,
    /// The sequencer's public keys, as far as they were given.
    pub sequencer_keys: &'a SequencerKeys,
    /// The stream's anchored batches, by start; those that lie in the window are compared.
    pub anchored: &'a [AnchoredBatch],
    /// The chain that they are of, if it is known.
    pub chain_id: Option<u64>,
    /// Who may stop it.
    pub cancel: &'a Cancel,
}

/// What a window holds.
#[derive(Debug)]
pub struct Window {
    /// The range that was read: as asked for, widened at its beginning, or cut at its end if too many commitments are in it.
    pub span: Span,
    /// Rows of events that were read.
    pub rows: u64,
    /// Whether rows are missing in it.
    pub has_holes: bool,
    /// Whether a signature does not hold, or has a key that is not known: newer keys may say otherwise.
    pub doubts_keys: bool,
    /// The leaf at its first number.
    pub first_leaf: Option<Hash32>,
    /// The leaf at its last number.
    pub last_leaf: Option<Hash32>,
    /// The leaves of its rows, by number.
    pub leaves: BTreeMap<u64, Hash32>,
    /// The end of the last commitment that lies in it.
    pub committed: Option<u64>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// So many commitments are looked at in one window; the rest in those behind it.
const MOST_COMMITMENTS: u32 = 1000;

/// Reads the events of `span`, widened to the first number of the commitments behind `committed` that end in it. Anchors are
/// compared behind `committed`, too.
///
/// # Errors
/// What the database says; [`RecoveryError::Cancelled`].
pub async fn window(
    view: &mut View,
    stream: &StreamKey,
    span: Span,
    committed: u64,
    input: &WindowInput<'_>,
) -> Result<Window, RecoveryError> {
    let known = view
        .commitments_from(stream, committed.saturating_add(1), MOST_COMMITMENTS)
        .await?;
    let page_end = known.rows.last().map(|c| c.sequence_end);
    let page_end = page_end.filter(|_| known.rows.len() >= MOST_COMMITMENTS as usize);
    let end = page_end.map_or(span.end(), |end| span.end().min(end.max(span.start())));
    let span = Span::new(span.start(), end).unwrap_or(span);
    let unreadable = known.unreadable.iter();
    let mut findings: Vec<Finding> = unreadable
        .map(|e| Finding::new(Code::EventUnreadable, e.to_string()).stream(*stream))
        .collect();
    let (before, behind): (Vec<Commitment>, Vec<Commitment>) =
        known.rows.into_iter().partition(|c| c.sequence_end <= committed);
    let ends_in = |c: &Commitment| c.sequence_end <= span.end();
    let commitments: Vec<Commitment> = behind.into_iter().filter(ends_in).collect();
    let start = commitments.iter().map(|c| c.sequence_start.max(1)).min();
    let wide = Span::new(start.unwrap_or(span.start()).min(span.start()), span.end()).unwrap_or(span);
    let anchored = lying_in(wide, span, committed, input.anchored);
    let mut ranges = ranges(&commitments, &anchored);
    // The root over one leaf is that leaf; and the leaves of a range that has not the root that it should are kept.
    let (first, last) = (span.start(), span.end());
    ranges.extend(
        [(first, first), (last, last), (first, last)].map(|(start, end)| BatchRange {
            start,
            end,
            root: Hash32::ZERO,
            anchored_at: None,
        }),
    );
    let scan_input = ScanInput {
        keys: input.keys,
        sequencer_keys: input.sequencer_keys,
        commitments: &[],
        ranges: &ranges,
        history: EntityHistory::default(),
        checkpointed: &Checkpointed::default(),
    };
    let mut state = StreamState::new(*stream);
    (state.first, state.last) = (Some(wide.start()), Some(wide.end()));
    let pass = Pass::read(view, &state, &scan_input, &NoProgress, input.cancel).await?;
    let mut scan = pass.finish();
    let leaves = scan.batches.pop().map(|batch| batch.leaves).unwrap_or_default();
    let mut judge = BatchJudge::new(*stream, &scan);
    judge.commitments(&commitments);
    judge.anchors(&anchored, &commitments);
    let places = judge.anchoring(&anchored, &commitments, input.chain_id);
    let before = previous(view, before, &commitments).await?;
    judge.state_chain(before.as_ref(), &commitments);
    findings.append(&mut judge.findings);
    if places.elsewhere.is_any_there() {
        findings.extend(places.findings);
    }
    findings.extend(of_events(*stream, &scan.tally));
    let tally = &scan.tally;
    let rows = tally.events + tally.unreadable.count + tally.repeated.count;
    let [first, last] = [2, 1].map(|back| scan.batches[scan.batches.len() - back].root);
    Ok(Window {
        span: wide,
        rows,
        has_holes: tally.events + tally.unreadable.count < wide.count(),
        doubts_keys: [Code::EventSignature, Code::EventKey, Code::ReceiptSignature]
            .iter()
            .any(|code| tally.count(*code) > 0),
        first_leaf: first,
        last_leaf: last,
        leaves,
        committed: commitments.iter().map(|c| c.sequence_end).max(),
        findings,
    })
}

/// Commitments that were judged by leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByLeaves {
    /// Up to this number they are right.
    pub committed: u64,
    /// The end of the first one behind them that has to be judged by a window.
    pub to_be_read: Option<u64>,
    /// There are more of them than are looked at in one go.
    pub more: bool,
}

/// Judges the commitments behind `committed` that end at `checked` or before by the leaves that their events had when they were
/// judged: `root` knows the root over a range. What is not right by them is judged by a window, which says what is wrong.
///
/// # Errors
/// What the database says.
pub async fn by_leaves(
    view: &mut View,
    stream: &StreamKey,
    committed: u64,
    checked: u64,
    root: impl Fn(Span) -> Option<Hash32>,
) -> Result<ByLeaves, RecoveryError> {
    let from = committed.saturating_add(1);
    let known = view.commitments_from(stream, from, MOST_COMMITMENTS).await?;
    let mut found = ByLeaves {
        committed,
        to_be_read: None,
        more: known.rows.len() >= MOST_COMMITMENTS as usize,
    };
    let mut previous: Option<&Commitment> = None;
    for c in &known.rows {
        if c.sequence_end > committed {
            if c.sequence_end > checked {
                found.more = false;
                break;
            }
            let range = Span::new(c.sequence_start, c.sequence_end);
            let right = range.is_some_and(|range| {
                u64::from(c.leaf_count) == range.count() && root(range) == Some(c.merkle_root)
            });
            let wrong = || !rules::commitment(c).is_empty() || !rules::succession(previous, c).is_empty();
            if !right || !known.unreadable.is_empty() || wrong() {
                found.to_be_read = Some(c.sequence_end);
                found.more = false;
                break;
            }
            found.committed = c.sequence_end;
        }
        previous = Some(c);
    }
    Ok(found)
}

/// The anchored batches that lie in what is read, and whose commitments are among those that are looked at.
fn lying_in(wide: Span, span: Span, committed: u64, anchored: &[AnchoredBatch]) -> Vec<AnchoredBatch> {
    let widened = wide.start() < span.start();
    let begins =
        |a: &&AnchoredBatch| a.sequence_start > committed || (widened && a.sequence_start >= wide.start());
    let lies =
        |a: &&AnchoredBatch| Span::new(a.sequence_start, a.sequence_end).is_some_and(|of| wide.covers(of));
    anchored.iter().filter(begins).filter(lies).cloned().collect()
}

/// The commitment before the first of these. A range that begins in the middle of a batch does not have it yet.
async fn previous(
    view: &mut View,
    mut before: Vec<Commitment>,
    commitments: &[Commitment],
) -> Result<Option<Commitment>, RecoveryError> {
    let (None, Some(first)) = (before.last(), commitments.first()) else {
        return Ok(before.pop());
    };
    let known = view
        .commitments_from(&first.stream, first.sequence_start, 1)
        .await?;
    Ok(known
        .rows
        .into_iter()
        .find(|c| c.sequence_start < first.sequence_start))
}
