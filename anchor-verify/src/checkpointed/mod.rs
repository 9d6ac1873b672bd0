//! What checkpoints say: of each other, of a log, and of anchors.
//!
//! The comparison of checkpoints with each other is the crate `checkpoints`' ([`checkpoints::History`]); here it becomes a
//! report, and is held against what an auditor may have beside it: a log or a part of one ([`walk`]), anchors, and the
//! recovery epochs that explain generations.

mod against_anchors;
mod against_log;
pub mod proof;
pub mod report;
pub mod walk;

pub use report::{CheckpointFinding, CheckpointsReport, StreamReport};

use std::collections::BTreeMap;

use checkpoints::history::{Explanation, GivenEpoch, Refusal, Refused};
use checkpoints::{Conflict, History, Policy, StreamCheckpoints};
use cli_common::finding::Code;

use crate::batches::AnchorView;
pub use against_log::{ComparedLog, of_db, of_source};
use report::{AnchorsReport, GenerationReport, Keys, LogReport};

/// What checkpoints are looked at with.
pub struct Inputs<'a> {
    /// The files, as they were named.
    pub files: Vec<String>,
    /// All that they say.
    pub history: &'a History,
    /// Whose signatures count.
    pub policy: &'a Policy,
    /// The recovery epochs that were given.
    pub epochs: &'a [GivenEpoch],
    /// The anchors that were given, by stream.
    pub anchors: Option<&'a AnchorView>,
    /// A log that was held against them.
    pub log: Option<ComparedLog<'a>>,
}

/// Says what checkpoints say.
pub fn judge(inputs: Inputs<'_>) -> CheckpointsReport {
    let history = inputs.history;
    let mut report = CheckpointsReport {
        files: inputs.files,
        entries: history.entries,
        keys: Keys::of(inputs.policy),
        log: None,
        place: None,
        streams: Vec::new(),
        findings: Vec::new(),
        problems: 0,
        notices: 0,
        not_checked: Vec::new(),
    };
    report.findings = findings_of(history);
    let mut compared = inputs.log.unwrap_or_default();
    for of in &history.streams {
        let lane = compared.take(of);
        let anchored = inputs.anchors.map(|view| against_anchors::compare(of, view));
        stream(of, inputs.epochs, lane, anchored, &mut report);
    }
    if !history.streams.iter().any(|of| of.current().is_some()) {
        let what = "of the checkpoints that were given none counts: nothing can be proven by them";
        report.find(CheckpointFinding::new(Code::CheckpointNone, what));
    }
    report.unasked(inputs.policy, inputs.anchors.is_some(), &compared);
    report.not_checked.append(&mut compared.not_checked);
    report.findings.append(&mut compared.findings);
    (report.log, report.place) = (compared.name, compared.place);
    report.count();
    report
}

/// What is wrong with checkpoints by themselves: where they contradict each other, and what does not count.
pub fn findings_of(history: &History) -> Vec<CheckpointFinding> {
    let conflicts = history.conflicts.iter().map(CheckpointFinding::conflict);
    let refused = refused(&history.refused).into_iter();
    conflicts.chain(refused.map(CheckpointFinding::refused)).collect()
}

/// So many refused entries of one kind in one file are told one by one.
const REFUSED: usize = 20;

/// Refused entries, those of one kind and file cut to some.
fn refused(all: &[Refused]) -> Vec<(&Refused, usize)> {
    let mut counts: BTreeMap<(&str, Refusal), usize> = BTreeMap::new();
    for refused in all {
        *counts.entry((&refused.place.file, refused.kind)).or_default() += 1;
    }
    let mut seen: BTreeMap<(&str, Refusal), usize> = BTreeMap::new();
    let mut told = Vec::new();
    for refused in all {
        let key: (&str, Refusal) = (&refused.place.file, refused.kind);
        let at = seen.entry(key).or_default();
        *at += 1;
        if *at <= REFUSED {
            let more = counts[&key].saturating_sub(REFUSED);
            told.push((refused, if *at == REFUSED { more } else { 0 }));
        }
    }
    told
}

/// What is said of one stream in one deployment.
fn stream(
    of: &StreamCheckpoints,
    epochs: &[GivenEpoch],
    lane: Option<walk::Lane<'_>>,
    anchored: Option<against_anchors::Compared>,
    report: &mut CheckpointsReport,
) {
    let proven_by_log = lane
        .as_ref()
        .and_then(|lane| lane.matched)
        .map(|held| held.checkpoint.size);
    let limits = of.limits();
    let mut generations = Vec::new();
    for (generation, limit) in of.generations.iter().zip(limits) {
        let explained = generation.explained_by(epochs);
        let name = format!(
            "stream {}, generation {}",
            of.stream, generation.origin.generation
        );
        match &explained {
            Explanation::Nothing(why) => {
                let what = format!("{name}: {why}");
                let finding = CheckpointFinding::new(Code::CheckpointGeneration, what);
                report.find(finding.origin(&generation.origin));
            }
            Explanation::NotChecked(why) => report
                .not_checked
                .push(format!("{name}: what explains it: {why}")),
            Explanation::First | Explanation::Epoch(_) => {}
        }
        let by_log = proven_by_log.map(|size| limit.map_or(size, |limit| limit.min(size)));
        let told = GenerationReport::of(generation, explained, by_log);
        if let Some(first) = &told.first_unproven {
            report.not_checked.push(format!(
                "{name}: that each checkpoint continues the one before it: {} of {} steps, the first from {} to {} \
                 events: no leaves lead from one to the other{}",
                told.steps - told.steps_proven,
                told.steps,
                first.0,
                first.1,
                told.witness_note()
            ));
        }
        generations.push(told);
    }
    let log = lane.map(|lane| LogReport::of(of, &lane, report));
    let anchors = anchored.map(|compared| AnchorsReport::of(of, &compared, report));
    report
        .streams
        .push(StreamReport::of(of, generations, log, anchors));
}

impl CheckpointFinding {
    fn conflict(conflict: &Conflict) -> Self {
        use checkpoints::history::ConflictKind as Kind;
        let code = match conflict.kind {
            Kind::TwoRoots => Code::CheckpointTwoRoots,
            Kind::Fork => Code::CheckpointFork,
            Kind::Time => Code::CheckpointTime,
            Kind::Generation => Code::CheckpointGeneration,
        };
        Self {
            stream: Some(conflict.stream),
            origin: Some(conflict.origin.clone()),
            from: Some(conflict.size),
            to: None,
            places: conflict.places.clone(),
            ..Self::new(code, conflict.message.clone())
        }
    }

    fn refused((refused, more): (&Refused, usize)) -> Self {
        let code = match refused.kind {
            Refusal::Signature => Code::CheckpointSignature,
            Refusal::Leaves => Code::CheckpointLeaves,
            Refusal::Unreadable | Refusal::Unknown | Refusal::Witnesses | Refusal::Unconnected => {
                Code::CheckpointRefused
            }
        };
        let more = match more {
            0 => String::new(),
            more => format!(" (and {more} more of this kind in the file)"),
        };
        Self {
            stream: refused.stream,
            places: vec![refused.place.clone()],
            ..Self::new(code, format!("{}: {}{more}", refused.place, refused.why))
        }
    }
}
