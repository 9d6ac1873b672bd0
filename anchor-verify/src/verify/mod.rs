//! Whether the events of a log are what was anchored: every batch recomputed, every event checked.
//!
//! The work is cut into units: the ranges that commitments and anchors name, and what lies between them. It is one pass
//! over the events, in memory that does not grow with their number; chunks are checked on all threads while the next
//! ones are read.

pub(crate) mod bounds;
mod fold;
mod plan;
pub mod report;
pub mod source;
mod tail;

use std::collections::BTreeSet;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use checkpoints::History;
use cli_common::{Cancel, Cancelled, Progress};
use event_log::{Checker, ExportError, LogError, Pipeline, Place};
use ves::{Hash32, SequencerKeys, StreamKey};

use crate::anchors_file::AnchorsFile;
use crate::pass::judge;
use crate::pins::KeyPins;
use crate::standing::{AnchorStanding, ChainReport};
use fold::{Event, Fold};
use plan::Plan;
use report::{Counts, InputInfo, PlanInfo, Totals, VerifiedStream};
pub use report::{InputKind, Shard, UnitReport, Verdict, VerifyReport};
pub use source::{DbSource, ExportSource, LogSource};
use tail::Tail;

/// The codes of failures, those that [`crate::rules`] have beside them. All are the ones of `sequencer-recovery audit`.
pub mod code {
    use cli_common::finding::Code;

    /// Numbers between present events are missing.
    pub const GAP_INTERIOR: &str = Code::GapInterior.as_str();
    /// Numbers before the first event are missing.
    pub const GAP_LEADING: &str = Code::GapLeading.as_str();
    /// Numbers after the last event are missing.
    pub const GAP_TAIL: &str = Code::GapTail.as_str();
    /// A row cannot be read.
    pub const UNREADABLE: &str = Code::EventUnreadable.as_str();
    /// A stored signing hash is not that of the fields.
    pub const SIGNING_HASH: &str = Code::EventSigningHash.as_str();
    /// A stored payload hash is not that of the payload.
    pub const PAYLOAD_HASH: &str = Code::EventPayloadHash.as_str();
    /// An agent's signature does not hold.
    pub const SIGNATURE: &str = Code::EventSignature.as_str();
    /// A key was not valid when the event was sequenced.
    pub const KEY: &str = Code::EventKey.as_str();
    /// A receipt promises something else.
    pub const RECEIPT: &str = Code::ReceiptMismatch.as_str();
    /// A receipt's signature does not hold.
    pub const RECEIPT_SIGNATURE: &str = Code::ReceiptSignature.as_str();
    /// A commitment's root is not that of the events.
    pub const COMMITMENT_ROOT: &str = Code::CommitmentRoot.as_str();
    /// A state root does not follow from the one before.
    pub const STATE_ROOT: &str = Code::CommitmentStateRoot.as_str();
    /// A commitment does not go on where the one before ended, or contradicts its own range.
    pub const COMMITMENT_GAP: &str = Code::CommitmentGap.as_str();
    /// The root of the events is not the anchored one.
    pub const ANCHOR_ROOT: &str = Code::AnchorRoot.as_str();
    /// Anchors, or an anchor and a commitment, contradict each other.
    pub const ANCHOR_CONFLICT: &str = Code::AnchorConflict.as_str();
    /// An anchor was left out of the anchors file.
    pub const ANCHOR_OMITTED: &str = Code::AnchorOmitted.as_str();
    /// A proof or header in the anchors file contradicts the anchor.
    pub const ANCHOR_PROOF: &str = Code::AnchorProof.as_str();
}

/// Why a log could not be verified.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// What the log says of itself.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A log export.
    #[error("{name} {source}")]
    Export {
        /// The file as it was named.
        name: String,
        /// What is wrong with it.
        source: ExportError,
    },
    /// A file that is no bundle, or a damaged one.
    #[error("{name}: {what}")]
    Bundle {
        /// The file as it was named.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// A file, or the system.
    #[error("{name}: {source}")]
    Io {
        /// What failed.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// A file that was to be written.
    #[error("{} was not written: {source}", path.display())]
    Write {
        /// The file as it was named.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The chain part is of another anchors file.
    #[error("{anchors} anchors, and the standing of {standings}")]
    Standings {
        /// How many anchors there are.
        anchors: usize,
        /// How many of them were judged.
        standings: usize,
    },
    /// An archive, which others read: what they say of it.
    #[error("{0}")]
    Archive(Box<dyn std::error::Error + Send + Sync>),
    /// Reports that do not make one whole.
    #[error("the reports cannot be joined: {0}")]
    Merge(String),
    /// Nothing would be verified by this.
    #[error("{0}")]
    Refused(String),
    /// The user stopped the work.
    #[error("stopped")]
    Cancelled(#[from] Cancelled),
}

impl VerifyError {
    pub(crate) fn io(name: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            name: name.to_owned(),
            source,
        }
    }

    pub(crate) fn export(name: &str) -> impl FnOnce(ExportError) -> Self {
        move |source| Self::Export {
            name: name.to_owned(),
            source,
        }
    }
}

/// What to compare the events with.
#[derive(Debug, Clone)]
pub struct VerifyInput<'a> {
    /// What it is read from.
    pub kind: InputKind,
    /// The input's name, without secrets: for the report.
    pub name: &'a str,
    /// The anchors, and how sure each of them is.
    pub anchors: Option<(&'a AnchorsFile, &'a ChainReport)>,
    /// The sequencer's public keys; without them no receipt's signature is checked.
    pub sequencer_keys: SequencerKeys,
    /// Agents' keys that the auditor knows; with them, those of the input are not used.
    pub keys: Option<&'a KeyPins>,
    /// Only this part of the work.
    pub shard: Option<Shard>,
}

/// Verifies a log, or one shard of it, on as many threads as rayon's current pool has.
///
/// # Errors
/// If the input cannot be read to its end, or the work is cancelled.
pub fn verify(
    source: &mut dyn LogSource,
    input: &VerifyInput<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<VerifyReport, VerifyError> {
    verify_with(source, input, None, progress, cancel)
}

/// As [`verify`], with signed checkpoints beside the anchors: they may reach further. Not for one shard, since a tree takes
/// all events before it.
///
/// # Errors
/// As [`verify`]; checkpoints with one shard.
pub fn verify_with(
    source: &mut dyn LogSource,
    input: &VerifyInput<'_>,
    checkpoints: Option<&History>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<VerifyReport, VerifyError> {
    if input.shard.is_some() && checkpoints.is_some() {
        let what = "a shard does not see all events: checkpoints are held against a whole log".to_owned();
        return Err(VerifyError::Refused(what));
    }
    let plan = plan_of(source, input)?;
    let keys = plan.outline.registry();
    let units = plan.units_of(input.shard);
    let partly: BTreeSet<StreamKey> = (units.iter().filter(|unit| unit.passed_over))
        .map(|unit| plan.outline.streams[unit.stream].stream)
        .collect();
    let wanted = plan.wanted(&units);
    let total = wanted
        .iter()
        .map(|(_, spans)| spans.count())
        .fold(0, u64::saturating_add);
    progress.start("verifying events", Some(total));
    let checker = Arc::new(Checker::new(keys, input.sequencer_keys.clone()));
    let mut pipeline = Pipeline::new(move |chunk| judge(chunk, &checker, Event::of));
    let mut fold = Fold::new(&plan, units);
    if let Some(history) = checkpoints {
        fold.walks = tail::walks(history, &plan.outline);
    }
    let mut take = |rows: Vec<_>| {
        progress.advance(rows.len() as u64);
        fold.rows(rows);
    };
    source.entries(&wanted, &mut |chunk| {
        if cancel.is_cancelled() {
            return ControlFlow::Break(());
        }
        pipeline.push(chunk, &mut take);
        ControlFlow::Continue(())
    })?;
    cancel.check()?;
    pipeline.finish(&mut take);
    progress.finish();
    let walks = std::mem::take(&mut fold.walks);
    let (units, mut problems) = fold.finish();
    let mut streams: Vec<VerifiedStream> = plan.outline.streams.iter().map(stream_summary).collect();
    let tail = checkpoints
        .map(|history| Tail::of(history, walks, &plan.outline, &partly, &mut streams))
        .unwrap_or_default();
    problems.extend(tail.problems);
    let seen = Seen {
        streams,
        units,
        problems,
        not_checked: tail.not_checked,
    };
    Ok(report_of(source, input, &plan, seen))
}

/// A report in which nothing of a shard was checked, and why: it stands in the place of one that was lost.
///
/// # Errors
/// If the input's outline cannot be read.
pub fn not_verified(
    source: &mut dyn LogSource,
    input: &VerifyInput<'_>,
    why: &str,
) -> Result<VerifyReport, VerifyError> {
    let plan = plan_of(source, input)?;
    let mut units = plan.units_of(input.shard);
    for unit in &mut units {
        unit.passed_over = true;
        unit.refused = Some(why.to_owned());
    }
    let (units, problems) = Fold::new(&plan, units).finish();
    let seen = Seen {
        streams: plan.outline.streams.iter().map(stream_summary).collect(),
        units,
        problems,
        not_checked: Vec::new(),
    };
    Ok(report_of(source, input, &plan, seen))
}

/// What is to be compared with what.
fn plan_of(source: &mut dyn LogSource, input: &VerifyInput<'_>) -> Result<Plan, VerifyError> {
    let mut outline = source.outline()?;
    let unlike = input
        .keys
        .map_or_else(Vec::new, |pins| pins.apply(&mut outline))
        .into_iter()
        .map(|what| report::Failure::new(code::KEY, what));
    let mut plan = Plan::new(outline, input, source.partial())?;
    plan.problems.extend(unlike);
    Ok(plan)
}

/// What a pass has seen.
struct Seen {
    streams: Vec<VerifiedStream>,
    units: Vec<UnitReport>,
    problems: Vec<report::Failure>,
    not_checked: Vec<String>,
}

fn report_of(source: &dyn LogSource, input: &VerifyInput<'_>, plan: &Plan, seen: Seen) -> VerifyReport {
    let mut problems = seen.problems;
    problems.extend(plan.problems.iter().cloned());
    problems.sort();
    problems.dedup();
    let mut report = VerifyReport {
        schema: report::SCHEMA.to_owned(),
        input: input_info(input, plan),
        place: source.place().cloned(),
        plan: PlanInfo {
            digest: plan.digest,
            units: plan.units.len() as u64,
        },
        shard: input.shard,
        verdict: Verdict::NotChecked,
        totals: Totals::default(),
        streams: seen.streams,
        units: seen.units,
        problems,
        completeness: None,
        input_not_checked: {
            let events: u64 = plan.outline.streams.iter().map(|stream| stream.events).sum();
            let empty = (events == 0).then(|| "anything: the input holds no events".to_owned());
            let reservation = source.place().and_then(Place::reservation);
            let told = plan.not_checked.iter().cloned();
            empty
                .into_iter()
                .chain(told)
                .chain(seen.not_checked)
                .chain(reservation)
                .collect()
        },
        provenance: None,
        next: None,
        not_checked: Vec::new(),
    };
    report.summarize();
    report
}

fn input_info(input: &VerifyInput<'_>, plan: &Plan) -> InputInfo {
    let standings = || input.anchors.iter().flat_map(|(_, chain)| &chain.standings);
    let count = |wanted: fn(&AnchorStanding) -> bool| standings().filter(|s| wanted(s)).count() as u64;
    InputInfo {
        kind: input.kind,
        name: input.name.to_owned(),
        whole: plan.outline.whole,
        keys: plan.outline.keys.len() as u64,
        keys_pinned: input.keys.is_some(),
        anchors: standings().count() as u64,
        anchors_trusted: count(|s| matches!(s, AnchorStanding::Trusted { .. })),
        anchors_failed: count(|s| matches!(s, AnchorStanding::Failed { .. })),
        chain_id: input.anchors.and_then(|(file, _)| file.chain_id),
        trusted_block: input.anchors.and_then(|(_, chain)| chain.trusted_block),
        ties_nothing: input
            .anchors
            .and_then(|(file, chain)| crate::chain::ties_nothing(file, chain)),
        sequencer_public_key: input.sequencer_keys.plain().map(|key| Hash32(key.to_bytes())),
        sequencer_public_keys: {
            let versions = input.sequencer_keys.versions();
            versions
                .map(|(version, key)| (version, Hash32(key.to_bytes())))
                .collect()
        },
    }
}

fn stream_summary(stream: &event_log::StreamOutline) -> VerifiedStream {
    VerifiedStream {
        stream: stream.stream,
        range: stream.range.as_ref().map(|r| (*r.start(), *r.end())),
        events: stream.events,
        first: stream.first,
        last: stream.last,
        verdict: Verdict::NotChecked,
        batches: Counts::default(),
        last_batched: None,
        unbatched_events: 0,
        events_after_last_batch: 0,
        checkpointed: None,
    }
}
