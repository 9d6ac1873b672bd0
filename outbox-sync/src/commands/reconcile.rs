//! `outbox-sync reconcile`: set outboxes right after a recovery.

mod report;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;
use cli_common::keys::read_public_key;
use cli_common::{
    Cancel, CliError, ExitStatus, GlobalArgs, SequencerPublicKeyArgs, again, file_hint, stderr_progress,
};
use outbox_sync::KeyBook;
use outbox_sync::epoch::RecoveryEpoch;
use outbox_sync::holdings::NotRead;
use outbox_sync::inputs::Purpose;
use outbox_sync::known::KnownLog;
use outbox_sync::receipts::read_receipts;
use outbox_sync::reconcile::{LogKnowledge, ReconcileError, Reconciliation, apply, plan};
use ves::{EventId, Receipt, SequencerKeys, SignatureCheck};

use super::errors::{file_error, log_error, reconcile_error};
use super::provenance::{EPOCH, InputFiles, KEYS, MANIFEST, RECEIPTS};
use super::{
    KeyArgs, ManifestArg, OptionalDb, cancel_on_signals, expand, report_empty_log, reservations, shown,
};
use report::{Document, Done, next, print, wait_for_operator};

/// Set outboxes right after a recovery: states, numbers, cursors, stale pulled rows
///
/// What counts is what the log has (--db). Without access to it, a recovery epoch (--epoch) and the receipts that a
/// push saved (--receipts) tell what they can, and what they cannot tell is left as it is. Nothing is written without
/// --apply; then first a backup, and all changes of an outbox in one transaction. Stop the agent first if you can. Ends
/// with 0 if all is right, 1 if it was set right, 4 if something is left to do, 8 if an outbox could not be read or
/// written (the others are done all the same).
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct ReconcileArgs {
    /// Outboxes: files, folders (all below them that are named as databases; copies are left alone) or patterns
    #[arg(required_unless_present = "outbox_manifest", value_name = "OUTBOX")]
    outboxes: Vec<String>,

    #[command(flatten)]
    manifests: ManifestArg,

    #[command(flatten)]
    db: OptionalDb,

    /// A recovery epoch, as `sequencer-recovery apply` writes it
    #[arg(long, value_name = "FILE")]
    epoch: Option<PathBuf>,

    /// The operator's public key, as hex or as a file that holds it: the epoch's signature must hold
    #[arg(long, value_name = "HEX|FILE", requires = "epoch")]
    epoch_public_key: Option<String>,

    /// Receipts that a push saved (NDJSON)
    #[arg(long, value_name = "FILE")]
    receipts: Vec<PathBuf>,

    #[command(flatten)]
    sequencer: SequencerPublicKeyArgs,

    #[command(flatten)]
    keys: KeyArgs,

    /// Change the outboxes
    #[arg(long)]
    apply: bool,

    /// Where backups go; beside each outbox if not given
    #[arg(long, value_name = "FOLDER", requires = "apply")]
    backup_dir: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: &ReconcileArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    if !args.sequencer.is_empty() && args.receipts.is_empty() {
        return Err(CliError::usage(
            "--sequencer-public-key checks the receipts of --receipts, and none were given",
        )
        .with_hint("give the file of receipts that a push wrote with --receipts, or leave the key out"));
    }
    let cancel = cancel_on_signals()?;
    let mut document = Document::default();
    let paths = expand(
        (&args.outboxes, Some(&args.manifests)),
        Purpose::Change,
        &mut document.not_read,
        &mut document.not_checked,
        global,
    );
    let mut inputs = InputFiles::of_outboxes(&paths, global, &cancel)?;
    inputs.add(MANIFEST, args.manifests.files());
    inputs.add(KEYS, args.keys.files());
    inputs.add_log(args.db.target()?.as_ref());
    inputs.add(EPOCH, args.epoch.as_deref());
    inputs.add(RECEIPTS, args.receipts.iter().map(PathBuf::as_path));
    let mut work = Work::begin(args, global, &cancel, &mut document)?;
    let progress = stderr_progress(global);
    progress.start("reconciling outboxes", Some(paths.len() as u64));
    for path in &paths {
        cancel.check()?;
        match work.plan(path)? {
            Ok(plan) => {
                // What is changed from here on, we change.
                inputs.settle(path);
                let done = carry_out(plan, args, global, &mut work.status);
                if done.applied {
                    cancel.note_done(format!("outbox {}", shown(path)));
                }
                document.outboxes.push(done);
            }
            Err(error) => {
                let why = error.to_string();
                reconcile_error(error).report(global);
                document.not_read.push(NotRead {
                    path: shown(path),
                    why,
                });
            }
        }
        progress.advance(1);
    }
    progress.finish();
    let Work {
        keys,
        log,
        mut status,
        ..
    } = work;
    if !document.not_read.is_empty() {
        status |= ExitStatus::FAILED;
    }
    for done in &document.outboxes {
        let path = shown(&done.plan.path);
        let of_outbox = done.plan.not_checked.iter();
        document
            .not_checked
            .extend(of_outbox.map(|what| format!("{path}: {what}")));
    }
    let not_read = document.not_read.iter();
    document
        .not_checked
        .extend(not_read.map(|file| format!("{}: not read", file.path)));
    document.not_checked.extend(keys.flaws.iter().cloned());
    document.not_checked.extend(reservations(log.as_ref()));
    document.next = next(&document);
    document.provenance = Some(inputs.provenance());
    print(&document, global)?;
    Ok(status)
}

/// What outboxes are set right by.
struct Work<'a> {
    args: &'a ReconcileArgs,
    cancel: &'a Cancel,
    log: Option<KnownLog>,
    epoch: Option<RecoveryEpoch>,
    receipts: HashMap<EventId, Receipt>,
    keys: KeyBook,
    status: ExitStatus,
}

impl<'a> Work<'a> {
    fn begin(
        args: &'a ReconcileArgs,
        global: &GlobalArgs,
        cancel: &'a Cancel,
        document: &mut Document,
    ) -> Result<Self, CliError> {
        let mut status = ExitStatus::OK;
        let (log, keys) = again(cancel, || {
            let mut log = args.db.open(cancel)?;
            let keys = args.keys.book(log.as_mut())?;
            status = report_empty_log(log.as_mut(), &mut document.not_checked, global)?;
            Ok((log, keys))
        })?;
        document.place = log.as_ref().and_then(KnownLog::place).cloned();
        if log.as_ref().is_some_and(KnownLog::is_export) {
            return Err(
                CliError::usage("--db is an export, which does not say what the log has today")
                    .with_hint("give a PostgreSQL URL or a snapshot file"),
            );
        }
        let not_checked = &mut document.not_checked;
        let epoch = args
            .epoch
            .as_deref()
            .map(|path| read_epoch(path, args, not_checked))
            .transpose()?;
        let receipts = receipts(args, not_checked, &mut status, global)?;
        if log.is_none() && epoch.is_none() && receipts.is_empty() {
            return Err(CliError::usage("nothing is known to set the outboxes right by")
                .with_hint("give --db, --epoch or --receipts"));
        }
        if log.is_some() && !receipts.is_empty() {
            not_checked.push("the receipts: the log itself is asked".into());
        }
        Ok(Self {
            args,
            cancel,
            log,
            epoch,
            receipts,
            keys,
            status,
        })
    }

    /// Plans an outbox. A server in recovery may cancel a question: then it is planned again, by the log as it is by now.
    fn plan(&mut self, path: &Path) -> Result<Result<Reconciliation, ReconcileError>, CliError> {
        again(self.cancel, || {
            if self.log.is_none() {
                self.log = self.args.db.open(self.cancel)?;
            }
            let mut facts = LogKnowledge {
                log: self.log.as_mut(),
                epoch: self.epoch.as_ref(),
                receipts: std::mem::take(&mut self.receipts),
            };
            let planned = plan(path, &mut facts, &mut self.keys);
            self.receipts = facts.receipts;
            match planned {
                Err(ReconcileError::Log(error)) => {
                    self.log = None;
                    Err(log_error(error))
                }
                planned => Ok(planned),
            }
        })
    }
}

fn carry_out(
    plan: Reconciliation,
    args: &ReconcileArgs,
    global: &GlobalArgs,
    status: &mut ExitStatus,
) -> Done {
    if !plan.conflicts.is_empty() {
        *status |= ExitStatus::PROBLEMS;
    }
    let mut done = Done {
        applied: false,
        backup: None,
        error: None,
        plan,
    };
    if done.plan.is_empty() {
        return done;
    }
    if !args.apply {
        *status |= ExitStatus::PROBLEMS;
        return done;
    }
    // Before it is done: what is pending is sent as soon as the agent runs.
    for open in &done.plan.still_open {
        tracing::warn!(
            "WAIT: {}",
            wait_for_operator(&done.plan.path, open, "are about to be")
        );
    }
    let backup_to = backup_path(&done.plan.path, args.backup_dir.as_deref());
    match apply(&done.plan, &backup_to) {
        Ok(backed_up) => {
            *status |= ExitStatus::CORRECTED;
            done.applied = true;
            done.backup = Some(shown(&backed_up.backup));
        }
        Err(error) => {
            let message = error.to_string();
            reconcile_error(error).report(global);
            *status |= ExitStatus::FAILED | ExitStatus::PROBLEMS;
            done.error = Some(message);
        }
    }
    done
}

/// Not `*.db`: a backup must not be taken for an outbox of the fleet.
fn backup_path(outbox: &Path, folder: Option<&Path>) -> PathBuf {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%S%6fZ");
    let name = outbox
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name = format!("{name}.before-reconcile-{now}.bak");
    match folder {
        Some(folder) => folder.join(name),
        None => outbox.with_file_name(name),
    }
}

const EPOCH_FILE: &str =
    "is it the epoch that `sequencer-recovery apply` wrote, as it wrote it? (docs/epoch.md)";
const RECEIPTS_FILE: &str = "is it the file that `outbox-sync push` wrote its receipts to, as it wrote it?";

fn read_epoch(
    path: &Path,
    args: &ReconcileArgs,
    not_checked: &mut Vec<String>,
) -> Result<RecoveryEpoch, CliError> {
    let epoch = RecoveryEpoch::read(path).map_err(|e| file_error(&e.into(), EPOCH_FILE))?;
    let key = args.epoch_public_key.as_deref();
    let key = key
        .map(|value| read_public_key("--epoch-public-key", value))
        .transpose()?;
    match epoch.check_signature(key.as_ref()) {
        SignatureCheck::Valid => {}
        SignatureCheck::NotChecked(why) if key.is_none() => {
            not_checked.push(format!("the epoch's signature: {why}"));
        }
        other => {
            let why = match other {
                SignatureCheck::NotChecked(why) => why,
                _ => "it does not hold".into(),
            };
            return Err(
                CliError::input(format!("{}: the epoch's signature: {why}", path.display()))
                    .with_hint("get the epoch from the operator again, by a way that you trust"),
            );
        }
    }
    Ok(epoch)
}

fn receipts(
    args: &ReconcileArgs,
    not_checked: &mut Vec<String>,
    status: &mut ExitStatus,
    global: &GlobalArgs,
) -> Result<HashMap<EventId, Receipt>, CliError> {
    let keys: SequencerKeys = SequencerKeys::read(args.sequencer.read()?).map_err(CliError::input)?;
    let mut receipts = HashMap::new();
    let mut unchecked = 0;
    for path in &args.receipts {
        let saved = read_receipts(path).map_err(|e| {
            CliError::input(format!("{}: {e}", path.display())).with_hint(file_hint(path, &e))
        })?;
        if saved.receipts.is_empty() {
            CliError::input(format!("{}: holds no receipt", path.display()))
                .with_hint(RECEIPTS_FILE)
                .report(global);
            *status |= ExitStatus::PROBLEMS;
        }
        for error in saved.errors {
            CliError::input(format!("{} {error}", path.display()))
                .with_hint(RECEIPTS_FILE)
                .report(global);
            *status |= ExitStatus::PROBLEMS;
        }
        for receipt in saved.receipts {
            match receipt.check_signature(&keys) {
                SignatureCheck::Valid => {}
                SignatureCheck::NotChecked(_) => unchecked += 1,
                _ => {
                    let what = format!(
                        "{}: the receipt of {} is not signed by the sequencer",
                        path.display(),
                        receipt.event_id
                    );
                    CliError::input(what)
                        .with_hint("is it the sequencer's own key? Without it, receipts count as they are")
                        .report(global);
                    *status |= ExitStatus::PROBLEMS;
                    continue;
                }
            }
            receipts.insert(receipt.event_id, receipt);
        }
    }
    if unchecked > 0 {
        not_checked.push(format!(
            "the signatures of {unchecked} receipts: not signed, or their key was not given (--sequencer-public-key)"
        ));
    }
    Ok(receipts)
}

const COLUMNS: &str = "\
Columns (outboxes that failed or hold conflicts first, then those to be changed):
  RIGHT                 rows that are as they should be
  TO SYNCED, NUMBER     rows that become synced; that get another number
  TO PENDING            rows that become pending: the log lacks their events
  SET ASIDE, CURSORS    pulled rows set aside; cursors that change
  CONFLICTS             what contradicts the log and is left alone
  DONE                  what became of it";

#[cfg(test)]
mod tests;
