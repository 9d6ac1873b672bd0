//! What went wrong in the library, as an error for the user: what failed on which input, and what to do about exactly that.

use std::io;
use std::path::Path;

use cli_common::archive::ArchiveError;
use cli_common::{CliError, CommandLine, file_hint};
use http_client::Failure;
use outbox_sync::holdings::{HoldingsError, NotRead};
use outbox_sync::known::KnownLogError;
use outbox_sync::push::StopCause;
use outbox_sync::reconcile::ReconcileError;
use outbox_sync::source::SourceError;
use outbox_sync::{FileError, OutboxError, OutboxErrorKind};

/// A file of ours, or one that is given. `otherwise` is what to do if it is not the system that refuses it.
pub fn file_error(error: &FileError, otherwise: &str) -> CliError {
    let hint = match &error.refused {
        Some((_, io::ErrorKind::AlreadyExists)) => "give another name, or replace it with --force".into(),
        Some((file, kind)) => file_hint(file, &(*kind).into()),
        None => otherwise.to_owned(),
    };
    CliError::io(error.to_string()).with_hint(hint)
}

/// An export that cannot be read.
const EXPORT: &str = "is it a whole export that `outbox-sync export` wrote, with its manifest beside it? \
                      docs/export.md says what is read";

/// An outbox that cannot be read.
pub fn outbox_error(error: &OutboxError) -> CliError {
    CliError::input(error.to_string()).with_hint(outbox_hint(&error.path, &error.kind))
}

fn outbox_hint(path: &Path, kind: &OutboxErrorKind) -> String {
    let temporary = || std::env::temp_dir().join("copy");
    let hint = match kind {
        OutboxErrorKind::Io(error) => return file_hint(path, error),
        OutboxErrorKind::Copy(error) => return file_hint(&temporary(), error),
        OutboxErrorKind::Full => return file_hint(&temporary(), &io::ErrorKind::StorageFull.into()),
        OutboxErrorKind::NotAFile => "name the agent's database, or the folder that it is in",
        OutboxErrorKind::NoOutboxTables => {
            "name the agent's own database, or the folder that it is in: it is found there by its content"
        }
        OutboxErrorKind::NotSqlite => {
            "is it the agent's database? One that is encrypted as a whole is decrypted first, by the agent's own software"
        }
        OutboxErrorKind::Empty | OutboxErrorKind::Truncated { .. } | OutboxErrorKind::Damaged(_) => {
            "copy it again from where it was, with its -wal, or look for a backup; what can still be read of it is used"
        }
        OutboxErrorKind::MissingColumns { .. } => {
            "docs/outboxes.md says which shapes are read: is it the outbox of another version of the agent?"
        }
        OutboxErrorKind::WithoutRowid { .. } | OutboxErrorKind::SuperJournal => {
            "do it to a copy, and keep the file as it is: it is evidence"
        }
        OutboxErrorKind::Locked | OutboxErrorKind::Busy { .. } => {
            "stop the agent, or wait until it rests; nothing of the outbox was changed"
        }
        _ => "is the disk sound? Copy the file, with its -wal, and read the copy",
    };
    hint.into()
}

/// A source that cannot be read.
pub fn source_error(error: &SourceError) -> CliError {
    match error {
        SourceError::Outbox(error) => outbox_error(error),
        SourceError::Export(error) => file_error(error, EXPORT),
    }
}

/// A file that was found or named and cannot be read, of which no more is known than why.
pub fn not_read_error(file: &NotRead) -> CliError {
    let path = Path::new(&file.path);
    let refused = match path.metadata() {
        Err(error) => Some(error),
        // What is no plain file is not opened: it may take for ever.
        Ok(meta) if !meta.is_file() => None,
        Ok(_) => std::fs::File::open(path).err(),
    };
    let hint = match refused {
        Some(_) if file.path.contains(['*', '?', '[']) => {
            "is the pattern right? In quotes it is this program that looks for matches".into()
        }
        Some(error) => file_hint(path, &error),
        None => "docs/outboxes.md says what is read; without it, what it holds counts for nothing".to_owned(),
    };
    let why = file
        .why
        .strip_prefix(&format!("{}: ", file.path))
        .unwrap_or(&file.why);
    CliError::input(format!("{}: {why}", file.path)).with_hint(hint)
}

/// What the log says, as an error of the command.
pub fn log_error(error: KnownLogError) -> CliError {
    match error {
        KnownLogError::Log(error) => error.into(),
        KnownLogError::Source(error) => source_error(&error),
        KnownLogError::Outbox(error) => outbox_error(&error),
        KnownLogError::BrokenExport(_) => CliError::input(error.to_string()).with_hint(
            "export the log again, or get the export again from where it was; or name the log itself",
        ),
        KnownLogError::Archive(_, ArchiveError::Cancelled(cancelled)) => cancelled.into(),
        KnownLogError::Archive(_, ref why) => CliError::input(error.to_string()).with_hint(why.remedy()),
        KnownLogError::BrokenArchive(..) => CliError::input(error.to_string())
            .with_hint("`event-archive verify` says more of it; or name the log itself, or a snapshot of it"),
        KnownLogError::Runtime(_) => CliError::io(error.to_string())
            .with_hint("may this user start threads, and open files? (ulimit -a)"),
    }
}

/// What stopped the reading of a fleet.
pub fn holdings_error(error: HoldingsError) -> CliError {
    match error {
        HoldingsError::Log(error) => log_error(error),
        HoldingsError::Cancelled => cli_common::Cancelled.into(),
    }
}

/// Why an outbox was not set right.
pub fn reconcile_error(error: ReconcileError) -> CliError {
    match error {
        ReconcileError::Outbox(error) => outbox_error(&error),
        ReconcileError::Log(error) => log_error(error),
        ReconcileError::Backup(error) => {
            let hint = file_error(&error, "give another folder with --backup-dir");
            let what = format!("no backup could be made, so nothing was changed: {error}");
            CliError::io(what).with_hint(hint.hint().unwrap_or_default())
        }
        ReconcileError::Drift { .. } => CliError::drift(error.to_string()).with_hint(format!(
            "stop the agent, then: {}",
            CommandLine::of_this_process()
        )),
        ReconcileError::Refused { .. } => {
            CliError::io(error.to_string()).with_hint("give the log that this outbox's agent sends to")
        }
    }
}

/// What to do about a push that stopped.
pub fn stop_hint(cause: StopCause) -> &'static str {
    match cause {
        StopCause::Unreachable(Failure::NoHost) => "is the host in --url right? It has no address",
        StopCause::Unreachable(Failure::Tls) => {
            "who signed its certificate is not among the system's authorities: SSL_CERT_FILE names a file with others; or is \
             --url to begin with http://?"
        }
        StopCause::Unreachable(_) => {
            "is the sequencer up, and are host and port in --url right? A proxy is taken from HTTPS_PROXY and HTTP_PROXY"
        }
        StopCause::KeyRefused => {
            "give the agent's own key, in SEQUENCER_API_KEY or with --api-key-file: is it a current one?"
        }
        StopCause::NotASequencer => "give --url as https://HOST of the sequencer, without a path",
        StopCause::Fails => {
            "see what is wrong with the log first (its counter may be behind): sequencer-recovery audit"
        }
        StopCause::Unsettled => {
            "something between here and the sequencer answers in its place: ask whoever runs the sequencer and its proxies"
        }
        StopCause::System => "may this user start threads? (ulimit -u)",
    }
}
