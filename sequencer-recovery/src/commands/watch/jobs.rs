//! What is looked at on threads of its own, and who is told of a problem.

use std::io::Error;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anchor_verify::fetch::rpc::Rpc;
use anchor_verify::fetch::{FetchOptions, FetchTarget, Proofs, fetch};
use anchor_verify::{AnchorsFile, Existing};
use cli_common::{Cancel, CliError, DbTarget, NoProgress, ShellCommand};
use event_log::{Log, OpenOptions, StreamFilter};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::watch::Options;
use sequencer_recovery::watch::alarms::{Alarm, AlarmSource};
use sequencer_recovery::watch::anchored::AnchoredStreams;
use sequencer_recovery::watch::jobs::{Job, JobOutcome};
use sequencer_recovery::watch::outboxes::{self, OutboxesInput};
use serde::Serialize;
use ves::StreamKey;

use super::super::block_on;
use super::WatchArgs;

/// A hook that runs longer is ended.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often it is looked whether an anchors file changed.
const FILES_EVERY: Duration = Duration::from_secs(5);

/// The work that was asked for.
pub(super) fn jobs(args: &WatchArgs, options: &Options) -> Result<Vec<Job>, CliError> {
    let mut jobs = Vec::new();
    if let Some(url) = &args.rpc {
        jobs.push(node(args, url)?);
    }
    if !args.anchors.is_empty() {
        jobs.push(anchors(args)?);
    }
    if !args.outboxes.is_empty() || !args.manifests.is_empty() {
        let input = OutboxesInput {
            db: args.db.target()?,
            outboxes: args.outboxes.clone(),
            manifests: args.manifests.clone(),
            receipts: args.receipts.clone(),
            sequencer_keys: options.sequencer_keys.clone(),
            filter: options.filter,
        };
        jobs.push(Job {
            source: AlarmSource::Outboxes,
            every: args.outboxes_every,
            work: Box::new(move |cancel| {
                let looked = block_on(async { Ok(outboxes::look(&input, cancel).await) });
                Some(looked.unwrap_or_else(|e| JobOutcome::failed(AlarmSource::Outboxes, &e)))
            }),
        });
    }
    jobs.extend(args.checkpoints.job(&args.db.target()?, options.filter)?);
    Ok(jobs)
}

/// Reads anchors files when they have changed.
fn anchors(args: &WatchArgs) -> Result<Job, CliError> {
    let (files, filter, db) = (args.anchors.clone(), args.filter(), args.db.target()?);
    let from_node = args.rpc.is_some();
    let mut seen: Option<Vec<Option<(u64, SystemTime)>>> = None;
    Ok(Job {
        source: AlarmSource::Anchors,
        every: FILES_EVERY,
        work: Box::new(move |cancel| {
            let stamp = |path: &PathBuf| {
                let meta = path.metadata().ok()?;
                Some((meta.len(), meta.modified().ok()?))
            };
            let stamps: Vec<_> = files.iter().map(stamp).collect();
            // The node was not asked yet.
            let not_yet = from_node && stamps.iter().all(Option::is_none);
            if not_yet || seen.as_ref() == Some(&stamps) {
                return None;
            }
            Some(match read_anchors(&files, &db, filter, cancel) {
                Ok(outcome) => {
                    seen = Some(stamps);
                    outcome
                }
                Err(error) => JobOutcome::failed(AlarmSource::Anchors, &error),
            })
        }),
    })
}

fn read_anchors(
    files: &[PathBuf],
    db: &DbTarget,
    filter: StreamFilter,
    cancel: &Cancel,
) -> Result<JobOutcome, CliError> {
    let known = streams(db, cancel)?;
    let (anchored, findings) = AnchoredStreams::read(files, &known, &filter)?;
    Ok(JobOutcome {
        anchored: Some(anchored),
        ..JobOutcome::found(AlarmSource::Anchors, findings)
    })
}

fn streams(db: &DbTarget, cancel: &Cancel) -> Result<Vec<StreamKey>, CliError> {
    block_on(async {
        let work = async {
            let log = Log::open_with(db, &OpenOptions::stopped_by(cancel)).await?;
            let heads = log.view().await?.heads(&StreamFilter::default()).await?;
            Ok::<_, RecoveryError>(heads.rows.into_iter().map(|head| head.stream).collect())
        };
        Ok(work.await?)
    })
}

/// Asks a node for anchors that are finalized, and extends the anchors file.
fn node(args: &WatchArgs, url: &str) -> Result<Job, CliError> {
    let [file] = &args.anchors[..] else {
        return Err(CliError::usage("--rpc extends one anchors file").with_hint("give one --anchors FILE"));
    };
    // Said now, and not at the first turn.
    Rpc::new(url, Cancel::new()).map_err(|why| CliError::usage(format!("--rpc: {why}")))?;
    let (url, file, db) = (url.to_owned(), file.clone(), args.db.target()?);
    let contracts = args.contracts.clone();
    Ok(Job {
        source: AlarmSource::Anchors,
        every: args.anchors_every,
        work: Box::new(move |cancel| {
            let turn = || -> Result<(), CliError> {
                let streams = streams(&db, cancel)?;
                let rpc = Rpc::new(&url, cancel.clone()).map_err(CliError::usage)?;
                let (known, existing) = match file.exists() {
                    true => {
                        let read = AnchorsFile::read(&file).map_err(|e| CliError::input(e.to_string()))?;
                        (Some(read), Existing::Replace)
                    }
                    false => (None, Existing::Keep),
                };
                let options = FetchOptions {
                    contracts: contracts.clone(),
                    from: None,
                    to: FetchTarget::Finalized,
                    proofs: Proofs::Both,
                    max_headers: 100_000,
                    max_receipts: 1_000,
                    streams,
                    chunk: None,
                    rescan: false,
                };
                let fetched = block_on(async {
                    let fetched = fetch(&rpc, &[], &options, known, &NoProgress).await;
                    fetched.map_err(|e| CliError::io(format!("{}: {e}", rpc.shown())))
                })?;
                let written = fetched.file.write_as(&file, existing);
                written.map_err(|e| CliError::io(format!("{}: {e}", file.display())))
            };
            // What is in the file then is read by who reads anchors files.
            turn()
                .err()
                .map(|error| JobOutcome::failed(AlarmSource::Anchors, &error))
        }),
    })
}

/// Runs the user's command for a problem that began or ended.
pub(super) fn hook(command: &str, what: &str, alarm: &Alarm, cancel: &Cancel) -> Result<(), Error> {
    #[derive(Serialize)]
    struct Told<'a> {
        schema: &'static str,
        what: &'a str,
        #[serde(flatten)]
        alarm: &'a Alarm,
    }
    let told = Told {
        schema: "watch-alarm/1",
        what,
        alarm,
    };
    let mut line = serde_json::to_vec(&told)?;
    line.push(b'\n');
    let command = ShellCommand {
        text: command,
        environment: &[],
        patience: PATIENCE,
    };
    command.run_with(&line, cancel)
}
