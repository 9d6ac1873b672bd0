//! `sequencer-recovery snapshot`: the log in one file.

use std::path::PathBuf;

use clap::Args;
use cli_common::{CliError, DbArg, ExitStatus, Format, GlobalArgs, Output, Table, stderr_progress};
use sequencer_recovery::error::log_error;
use serde::Serialize;

use super::{block_on, open, write_lines};

/// Copy the log into a snapshot file, in one consistent view: to plan and rehearse without touching production
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(flatten)]
    db: DbArg,

    /// The snapshot file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

const SCHEMA: &str = "recovery-snapshot/1";

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    db: String,
    out: String,
    tables: Vec<Copied>,
}

#[derive(Serialize)]
struct Copied {
    table: &'static str,
    /// `None` if the database has no such table.
    rows: Option<u64>,
}

/// Runs the command.
pub fn run(args: &SnapshotArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let progress = stderr_progress(global);
    let report = block_on(async {
        let (log, db) = open(&args.db).await?;
        let mut view = log.view().await.map_err(|e| log_error(&e))?;
        let copied = event_log::write_snapshot(&mut view, log.target(), &args.out, progress.as_ref())
            .await
            .map_err(|e| log_error(&e))?;
        let tables = copied
            .into_iter()
            .map(|(table, rows)| Copied { table, rows })
            .collect();
        Ok(Report {
            schema: SCHEMA,
            db,
            out: args.out.display().to_string(),
            tables,
        })
    })?;
    drop(progress);
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(&report)?,
        Format::Ndjson => write_lines(&mut out, SCHEMA, "table", &report.tables)?,
        Format::Table => {
            let mut table = Table::new(&["TABLE", "ROWS"]);
            for copied in &report.tables {
                table.row([
                    copied.table.to_owned(),
                    copied.rows.map_or("not there".into(), |n| n.to_string()),
                ]);
            }
            out.table(&table)?;
            out.line(&format!("{} is in {}.", report.db, report.out))?;
        }
    }
    out.finish()?;
    Ok(ExitStatus::OK)
}
