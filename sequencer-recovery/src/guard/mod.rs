//! The guard: whether a sequencer may start on a log, or would give promised numbers out again.
//!
//! A log that was rewound looks whole to itself. So it is compared with what does not share its fate: signed checkpoints,
//! anchors, and the notes of the last look. Whatever is behind them keeps the sequencer from starting, unless the operator's
//! signed recovery epoch says that this is how the repair left it.

pub mod notes;
pub mod report;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Instant;

use anchor_verify::AnchorView;
use checkpoints::history::{Conflict, Generation, Refusal};
use checkpoints::{History, Origin};
use cli_common::{Cancel, Progress};
use event_log::{Log, Place, StreamFilter, StreamHead, View};
use ves::StreamKey;

use crate::checkpoint::generation::promises_of;
use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::locked_file::LockedFile;
use crate::log_identity::{Kinship, LogIdentity};
use crate::roots::leaf_at;
use crate::sanction::Sanction;
use crate::stream::survey::read_anchors;
use notes::{Note, Notes, SCHEMA};
use report::GuardReport;
use stream::{ComparedWith, Judged};

/// What a log is compared with.
pub struct Promised<'a> {
    /// Checkpoints.
    pub checkpoints: Option<History>,
    /// Anchors files.
    pub anchors: &'a [PathBuf],
    /// The notes of earlier looks.
    pub notes: Option<&'a LockedFile>,
    /// The signed recovery epoch of a repair.
    pub sanction: Option<&'a Sanction>,
    /// Whether this log is taken for the one that the notes are of, although its timeline or database is another.
    pub adopt: bool,
    /// Whether only numbers are compared, and no trees.
    pub quick: bool,
}

/// Compares a log with what was promised of it, and notes what it is if it passes.
///
/// # Errors
/// The log or something to compare it with cannot be read: that is no pass.
pub async fn guard(
    log: &Log,
    db: String,
    promised: &Promised<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<GuardReport, RecoveryError> {
    let begun = Instant::now();
    let identity = LogIdentity::of(log)?;
    refuse_recovery(log.place())?;
    let file = read_anchors(promised.anchors)?;
    let before = match promised.notes {
        Some(file) => file.read::<Notes>(SCHEMA)?,
        None => None,
    };
    let mut view = log.view().await?;
    let heads = view.heads(&StreamFilter::default()).await?;
    let mut report = empty_report(db, view.place().clone(), promised);
    let unreadable = heads
        .unreadable
        .iter()
        .map(|e| Finding::new(Code::EventUnreadable, e.to_string()));
    report.findings.extend(unreadable);
    let heads: BTreeMap<StreamKey, StreamHead> =
        heads.rows.into_iter().map(|head| (head.stream, head)).collect();
    let noted: BTreeMap<StreamKey, &Note> = before
        .iter()
        .flat_map(|notes| &notes.streams)
        .map(|note| (note.stream, note))
        .collect();
    let (streams, anchors) = streams(&heads, &noted, promised, file.as_ref(), &mut report);
    report.learned = promised.checkpoints.is_none() && file.is_none() && before.is_none();
    progress.start("comparing streams", Some(streams.len() as u64));
    let epoch = promised.sanction.map(Sanction::hash);
    let explains_notes = epoch.is_some() && before.as_ref().is_none_or(|notes| notes.epoch != epoch);
    let checkpoints = promised.checkpoints.as_ref();
    let mut seen = Vec::new();
    for stream in &streams {
        cancel.check()?;
        let known = ComparedWith {
            stream: *stream,
            head: heads.get(stream),
            note: noted.get(stream).copied(),
            anchored: stream::anchored(anchors.as_ref(), stream),
            sanction: promised.sanction,
            explains_notes,
            promises: checkpoints.map_or_else(Vec::new, |history| promises_of(history, stream)),
            highest: checkpoints.and_then(|history| stream::highest(history, stream)),
            quick: promised.quick,
        };
        let judged = known.judge(&mut view, cancel).await?;
        report.rows += judged.rows;
        report.findings.extend(judged.findings.iter().cloned());
        report.streams.push(judged.guarded.clone());
        seen.push(judged);
        progress.advance(1);
    }
    progress.finish();
    report.passed = !report.has_problems();
    if let Some(file) = promised.notes {
        report.notes = Some(match report.passed {
            true => note(&mut view, file, before, identity, promised, seen).await?,
            false => "they stay as they are: the log does not pass".into(),
        });
    }
    report.seconds = begun.elapsed().as_secs_f64();
    Ok(report)
}

/// A server that is still replaying says nothing of the log that the sequencer would find.
fn refuse_recovery(place: &Place) -> Result<(), RecoveryError> {
    match place.server().filter(|server| server.recovery.is_some()) {
        None => Ok(()),
        Some(server) => Err(RecoveryError::InRecovery {
            what: format!(
                "the server of database {} is in recovery: what it will be nobody knows",
                server.database
            ),
        }),
    }
}

/// What is known before any stream is looked at.
fn empty_report(db: String, place: Place, promised: &Promised<'_>) -> GuardReport {
    GuardReport {
        schema: report::SCHEMA,
        db,
        place,
        passed: false,
        learned: false,
        streams: Vec::new(),
        findings: of_history(promised),
        not_checked: not_checked(promised),
        notes: None,
        rows: 0,
        seconds: 0.0,
    }
}

/// Every stream that anybody knows of, and the anchors by stream.
fn streams(
    heads: &BTreeMap<StreamKey, StreamHead>,
    noted: &BTreeMap<StreamKey, &Note>,
    promised: &Promised<'_>,
    file: Option<&anchor_verify::AnchorsFile>,
    report: &mut GuardReport,
) -> (BTreeSet<StreamKey>, Option<AnchorView>) {
    let mut all: BTreeSet<StreamKey> = heads.keys().chain(noted.keys()).copied().collect();
    let checkpoints = promised.checkpoints.iter().flat_map(|history| &history.streams);
    all.extend(checkpoints.map(|of| of.stream));
    let known: Vec<StreamKey> = all.iter().copied().collect();
    let anchors = file.map(|file| anchor_verify::group(&file.anchors, &known));
    for of in anchors.iter().flat_map(|anchors| &anchors.streams) {
        match of.stream {
            Some(stream) => {
                all.insert(stream);
            }
            None => {
                let message = format!(
                    "{} anchored batch(es) of the stream that SetRegistry calls {} are of no stream known here",
                    of.batches.len(),
                    of.tenant_store_key
                );
                report
                    .findings
                    .push(Finding::new(Code::AnchorUnresolved, message));
            }
        }
    }
    if file.is_some_and(|file| file.anchors.is_empty()) {
        let message = "no anchor is in what was given with --anchors".to_owned();
        report.findings.push(Finding::new(Code::AnchorNone, message));
    }
    (all, anchors)
}

/// What checkpoints say against each other, and those that do not count.
fn of_history(promised: &Promised<'_>) -> Vec<Finding> {
    let Some(history) = &promised.checkpoints else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    let contradict = history
        .conflicts
        .iter()
        .filter(|conflict| conflict.kind.contests());
    for conflict in contradict.filter(|conflict| !is_left(history, promised.sanction, conflict)) {
        findings.push(Finding::new(conflict.kind.code(), conflict.message.clone()).stream(conflict.stream));
    }
    for refused in history
        .refused
        .iter()
        .filter(|refused| refused.kind == Refusal::Signature)
    {
        let message = format!("{}: {}", refused.place, refused.why);
        let finding = Finding::new(refused.kind.code(), message);
        findings.push(match refused.stream {
            Some(stream) => finding.stream(stream),
            None => finding,
        });
    }
    let held: BTreeSet<StreamKey> = history
        .streams
        .iter()
        .filter(|s| s.highest().is_some())
        .map(|s| s.stream)
        .collect();
    let refused: BTreeSet<StreamKey> = history
        .refused
        .iter()
        .filter_map(|refused| refused.stream)
        .collect();
    if held.is_empty() {
        let message = format!(
            "{} entries of checkpoints were given, and none of them counts",
            history.entries
        );
        findings.push(Finding::new(Code::CheckpointNone, message));
    } else {
        for stream in refused.difference(&held) {
            let message = "checkpoints of this stream were given, and none of them counts".to_owned();
            findings.push(Finding::new(Code::CheckpointNone, message).stream(*stream));
        }
    }
    findings
}

/// Whether a later generation, which is signed or sanctioned by the epoch, has left what contradicts itself.
fn is_left(history: &History, sanction: Option<&Sanction>, conflict: &Conflict) -> bool {
    let Ok(origin) = conflict.origin.parse::<Origin>() else {
        return false;
    };
    let opened = sanction.and_then(|sanction| sanction.generation(&conflict.stream));
    if opened.is_some_and(|o| o.number > origin.generation && o.common_size < conflict.size) {
        return true;
    }
    let later = history.of(&conflict.stream).flat_map(|of| &of.generations);
    let mut later = later
        .filter(|g| g.origin.generation > origin.generation)
        .filter_map(|generation: &std::sync::Arc<Generation>| generation.continues());
    later.any(|continues| continues.size < conflict.size)
}

/// So many entries that do not count are named.
const NAMED: usize = 20;

fn not_checked(promised: &Promised<'_>) -> Vec<String> {
    let mut all = Vec::new();
    match &promised.checkpoints {
        None => all.push("the streams' trees: no checkpoints were given (--checkpoints)".to_owned()),
        Some(history) => {
            if promised.quick {
                all.push("the streams' trees: with --quick only numbers are compared".to_owned());
            }
            let refused = history
                .refused
                .iter()
                .filter(|refused| refused.kind != Refusal::Signature);
            let lines: Vec<String> = refused
                .map(|refused| format!("{}: {}", refused.place, refused.why))
                .collect();
            let more = lines.len().saturating_sub(NAMED);
            all.extend(lines.into_iter().take(NAMED));
            if more > 0 {
                all.push(format!("{more} more entries of checkpoints that do not count"));
            }
            let all_conflicts = history.conflicts.iter();
            let times = all_conflicts.filter(|conflict| {
                !conflict.kind.contests() || is_left(history, promised.sanction, conflict)
            });
            all.extend(times.take(NAMED).map(|conflict| conflict.message.clone()));
        }
    }
    if promised.anchors.is_empty() {
        all.push("anchors: none were given (--anchors)".to_owned());
    } else {
        all.push("whether events give the anchored roots: `audit` and `anchor-verify verify` say".to_owned());
    }
    if promised.notes.is_none() {
        all.push("earlier looks: no file of notes was given (--state)".to_owned());
    }
    all
}

/// Raises the notes of a log that passed, if it is theirs. Says what became of them.
async fn note(
    view: &mut View,
    file: &LockedFile,
    before: Option<Notes>,
    identity: LogIdentity,
    promised: &Promised<'_>,
    seen: Vec<Judged>,
) -> Result<String, RecoveryError> {
    let epoch = promised.sanction.map(Sanction::hash);
    if let Some(before) = before
        .as_ref()
        .filter(|notes| notes.log.kinship(&identity) != Kinship::Same)
    {
        let once = epoch.is_some() && epoch != before.epoch;
        if !(promised.adopt || once) {
            return Ok(format!(
                "they stay as they are: they are of {}, and this is {identity}; if it is the production now, say --adopt once",
                before.log
            ));
        }
    }
    let mut notes = Notes {
        schema: SCHEMA.into(),
        log: identity,
        epoch: epoch.or(before.as_ref().and_then(|notes| notes.epoch)),
        streams: Vec::new(),
    };
    for judged in seen {
        let of = judged.guarded;
        let head = of.head.unwrap_or(0);
        let old = before
            .iter()
            .flat_map(|notes| &notes.streams)
            .find(|note| note.stream == of.stream);
        let compared = judged
            .compared
            .or_else(|| old.and_then(|note| note.compared.clone()));
        notes.streams.push(Note {
            stream: of.stream,
            generation: of.generation,
            head,
            counter: of.counter.unwrap_or(0),
            last_leaf: leaf_at(view, &of.stream, head).await?,
            compared,
        });
    }
    file.write(&notes)?;
    Ok(format!("raised: {} stream(s)", notes.streams.len()))
}
