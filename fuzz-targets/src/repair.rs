//! A plan carried out: whatever is in it, the log is repaired or left as it was.

use std::cell::OnceCell;
use std::path::Path;
use std::time::Duration;

use cli_common::{Cancel, DbTarget, NoProgress};
use event_log::{Log, Scope, read_dump, write_export};
use sequencer_recovery::apply::undo::{UndoOptions, UndoReport, undo};
use sequencer_recovery::apply::undo_file::UndoFile;
use sequencer_recovery::apply::{ApplyOptions, ApplyReport, StreamStatus, apply};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::plan::plan_file::PlanFile;
use tokio::runtime::Runtime;

use crate::scratch;
use crate::sealed::sealed;

/// The log that the plans of the corpus are for.
const LOG: &[u8] = include_bytes!("../../fixtures/corpus/dump/seed-0");

/// How long to wait for locks that nobody holds.
const PATIENCE: Duration = Duration::from_secs(1);

/// A plan, its digest set right, for a log of three events. A stream that is not repaired is as it was; and what was done is
/// taken back exactly.
pub(crate) fn plan(bytes: &[u8]) {
    thread_local! {
        static SOUND: OnceCell<(Vec<u8>, Vec<u8>)> = const { OnceCell::new() };
    }
    let Ok(plan) = PlanFile::open(&scratch::file("to-apply", &sealed(bytes))) else {
        return;
    };
    let path = scratch::folder().join("to-repair.db");
    let (sound, before) = SOUND.with(|sound| sound.get_or_init(|| made(&path)).clone());
    scratch::remove(&path);
    std::fs::write(&path, sound).expect("a scratch file");
    let bundle = scratch::folder().join("undo-it");
    scratch::remove(&bundle);
    let runtime = runtime();
    let log = runtime.block_on(open(&path)).expect("a log");
    let Ok(report) = runtime.block_on(applied(&log, &plan, &bundle)) else {
        assert!(
            exported(&runtime, &log) == before,
            "a plan that is refused changes nothing"
        );
        return;
    };
    let changed = report
        .streams
        .iter()
        .any(|stream| stream.status == StreamStatus::Applied);
    if !changed {
        assert!(
            exported(&runtime, &log) == before,
            "a plan that fails changes nothing"
        );
        return;
    }
    assert!(
        matches!(report.undo_file, Some(Ok(()))),
        "the undo bundle is closed"
    );
    let bundle = UndoFile::open(&bundle, false).expect("an undo bundle");
    let undone = runtime.block_on(taken_back(&log, &bundle));
    if let Err(error) = undone {
        panic!("what was just done cannot be taken back: {error}");
    }
    assert!(
        exported(&runtime, &log) == before,
        "what is taken back is as it was"
    );
}

/// A snapshot of the log as bytes, and its export.
fn made(path: &Path) -> (Vec<u8>, Vec<u8>) {
    scratch::remove(path);
    read_dump(LOG, path, &Cancel::default()).expect("the dump of a log");
    let runtime = runtime();
    let log = runtime.block_on(open(path)).expect("a log");
    let export = exported(&runtime, &log);
    drop(log);
    (std::fs::read(path).expect("a snapshot"), export)
}

fn runtime() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_time().build().expect("a runtime")
}

async fn open(path: &Path) -> Result<Log, event_log::LogError> {
    Log::open(&DbTarget::Snapshot(path.to_owned())).await
}

fn exported(runtime: &Runtime, log: &Log) -> Vec<u8> {
    let mut text = Vec::new();
    let written = runtime.block_on(async {
        let mut view = log.view().await?;
        write_export(&mut view, &Scope::default(), false, &mut text, &NoProgress).await
    });
    written.expect("a log can be exported");
    text
}

async fn applied(log: &Log, plan: &PlanFile, bundle: &Path) -> Result<ApplyReport, RecoveryError> {
    let options = ApplyOptions {
        lock_timeout: PATIENCE,
        sequencer_keys: Default::default(),
        sequencer_id: None,
        undo: Some(bundle.to_owned()),
        dry_run: false,
        journal: false,
        provenance: None,
        with_triggers: false,
    };
    apply(log, "log".into(), plan, &options, &NoProgress, &Cancel::default()).await
}

async fn taken_back(log: &Log, bundle: &UndoFile) -> Result<UndoReport, RecoveryError> {
    let options = UndoOptions {
        lock_timeout: PATIENCE,
        still_only: false,
        with_triggers: false,
    };
    undo(
        log,
        "log".into(),
        bundle,
        options,
        &NoProgress,
        &Cancel::default(),
    )
    .await
}
