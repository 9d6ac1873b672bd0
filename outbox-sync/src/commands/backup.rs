//! `outbox-sync backup`: a copy of an outbox that can be relied on.

use std::path::PathBuf;

use clap::Args;
use cli_common::provenance::{FileHash, Provenance};
use cli_common::{CliError, Existing, ExitStatus, GlobalArgs, Next, Output, Tone, WholeFile, print_report};
use outbox_sync::backup::{BackedUp, backup_unless};
use serde::Serialize;

use super::provenance::{InputFiles, print_head, write_head};
use super::{cancel_on_signals, errors::file_error, write_lines, write_next};

/// Back up an outbox into one file, also beside a live agent
///
/// `cp` is no backup: under WAL the newest events are in another file. The backup is consistent, checked by SQLite and
/// read again before it gets its name. The outbox is not changed. A file that is there is kept, unless --force is given; a
/// link, device or pipe is never replaced. Ends with 0, 8 if there is no backup, 32 if it was stopped.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The outbox
    #[arg(value_name = "OUTBOX")]
    outbox: PathBuf,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Replace the file if there is one, once the new backup is checked
    #[arg(long, alias = "replace")]
    force: bool,
}

const SCHEMA: &str = "outbox-backup/1";

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    provenance: Provenance,
    #[serde(flatten)]
    done: BackedUp,
    /// SHA-256 of the backup.
    sha256: Option<String>,
    next: Next,
}

/// Runs the command.
pub fn run(args: &BackupArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let inputs = InputFiles::of_outboxes(std::slice::from_ref(&args.outbox), global, &cancel)?;
    let done = backup_unless(
        &args.outbox,
        &args.out,
        Existing::replaced_if(args.force),
        &cancel,
    );
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            cancel.check()?;
            let otherwise = match WholeFile::check(&args.out, Existing::Replace) {
                Err(_) => "give --out the name of a regular file, or of none",
                Ok(()) => "give --out another name; a damaged outbox is copied as it is, with its -wal",
            };
            return Err(file_error(&error, otherwise));
        }
    };
    let mut written = FileHash::begin("backup", &args.out);
    written.read(&|| cancel.is_cancelled());
    global.recorder.file("backup", &args.out);
    let document = Document {
        schema: SCHEMA,
        provenance: inputs.provenance(),
        done,
        sha256: written.into_input().sha256,
        next: Next::nothing("the backup is checked; keep it on another disk than the outbox"),
    };
    print(&document, global)?;
    Ok(ExitStatus::OK)
}

fn print(document: &Document, global: &GlobalArgs) -> Result<(), CliError> {
    print_report(
        global,
        document,
        |out| print_table(out, document),
        |out| print_ndjson(out, document),
    )
}

fn print_ndjson(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Backup<'a> {
        #[serde(flatten)]
        done: &'a BackedUp,
        sha256: Option<&'a str>,
    }
    let backup = Backup {
        done: &document.done,
        sha256: document.sha256.as_deref(),
    };
    write_head(out, SCHEMA, Some(&document.provenance), None)?;
    write_lines(out, SCHEMA, "backup", [backup])?;
    write_next(out, SCHEMA, &document.next)
}

fn print_table(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    let done = &document.done;
    out.verdict(
        Tone::Good,
        &format!(
            "{}: {} bytes, {} own events, {} pulled, {} quarantined; checked",
            done.backup.display(),
            done.bytes,
            done.counts.total(),
            done.pulled,
            done.quarantined
        ),
    )?;
    if let Some(hash) = &document.sha256 {
        out.line(&format!("SHA-256 {hash}"))?;
    }
    print_head(out, Some(&document.provenance), None)?;
    document.next.print(out)
}

#[cfg(test)]
mod tests;
