//! What checkpoints say: of each other, of a log, and of anchors.
//!
//! The comparison of checkpoints with each other is the crate `checkpoints`' ([`checkpoints::History`]); here it becomes a
//! report, and is held against what an auditor may have beside it: a log or a part of one ([`walk`]), anchors, and the
//! recovery epochs that explain generations.

pub mod against_anchors;
mod against_log;
pub mod finding;
pub mod proof;
pub mod report;
pub mod walk;

pub use finding::{CheckpointFinding, findings_of};
pub use report::{CheckpointsReport, StreamReport};

use checkpoints::history::{Explanation, GivenEpoch};
use checkpoints::{History, Policy, StreamCheckpoints};
use cli_common::finding::Code;

use crate::anchor::tenant_store_key;
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
        let anchored = inputs.anchors.map(|view| {
            let key = tenant_store_key(&of.stream);
            let anchored = view.streams.iter().find(|s| s.tenant_store_key == key);
            against_anchors::compare(of, anchored.map_or(&[], |anchored| &anchored.batches))
        });
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
