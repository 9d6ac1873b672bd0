//! `outbox-sync backup`: a copy of an outbox that can be relied on.

use std::path::PathBuf;

use clap::Args;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output};
use outbox_sync::backup::{BackedUp, backup};
use serde::Serialize;

use super::write_lines;

/// Back up an outbox into one file, also beside a live agent
///
/// `cp` is no backup: under WAL the newest events are in another file. The backup is consistent, checked by SQLite and
/// read again before it gets its name. The outbox is not changed. Ends with 0, or 8 if there is no backup.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// The outbox
    #[arg(value_name = "OUTBOX")]
    outbox: PathBuf,

    /// The file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Replace the file if there is one, once the new backup is checked
    #[arg(long)]
    replace: bool,
}

const SCHEMA: &str = "outbox-backup/1";

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    #[serde(flatten)]
    done: BackedUp,
}

/// Runs the command.
pub fn run(args: &BackupArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let done = backup(&args.outbox, &args.out, args.replace).map_err(|e| CliError::io(e.to_string()))?;
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(&Document { schema: SCHEMA, done })?,
        Format::Ndjson => write_lines(&mut out, SCHEMA, "backup", [&done])?,
        Format::Table => out.line(&format!(
            "{}: {} bytes, {} own events, {} pulled, {} quarantined; checked",
            done.backup.display(),
            done.bytes,
            done.counts.total(),
            done.pulled,
            done.quarantined
        ))?,
    }
    out.finish()?;
    Ok(ExitStatus::OK)
}
