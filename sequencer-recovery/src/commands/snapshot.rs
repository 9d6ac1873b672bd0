//! `sequencer-recovery snapshot`: the log in one file.

use std::path::PathBuf;

use clap::Args;
use cli_common::{CliError, DbArg, ExitStatus, Format, GlobalArgs, Output, Table, stderr_progress};
use event_log::Place;
use serde::Serialize;

use super::{
    cancel_on_signals, open, print_not_checked, print_place, read_on, write_lines, write_not_checked,
    write_place,
};

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
    place: Place,
    out: String,
    tables: Vec<Copied>,
    not_checked: Vec<String>,
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
    let cancel = cancel_on_signals()?;
    let report = read_on(&cancel, async || {
        let (log, db) = open(&args.db, &cancel).await?;
        let mut view = log.view().await?;
        let copied = event_log::write_snapshot(&mut view, log.target(), &args.out, progress.as_ref()).await?;
        let tables = copied
            .into_iter()
            .map(|(table, rows)| Copied { table, rows })
            .collect();
        Ok(Report {
            schema: SCHEMA,
            db,
            place: log.place().clone(),
            not_checked: log.place().reservation().into_iter().collect(),
            out: args.out.display().to_string(),
            tables,
        })
    })?;
    drop(progress);
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(&report)?,
        Format::Ndjson => {
            write_place(&mut out, SCHEMA, &report.place)?;
            write_lines(&mut out, SCHEMA, "table", &report.tables)?;
            write_not_checked(&mut out, SCHEMA, &report.not_checked)?;
        }
        Format::Table => {
            print_place(&mut out, &report.place)?;
            let mut table = Table::new(&["TABLE", "ROWS"]);
            for copied in &report.tables {
                table.row([
                    copied.table.to_owned(),
                    copied.rows.map_or("not there".into(), |n| n.to_string()),
                ]);
            }
            out.table(&table)?;
            if !report.not_checked.is_empty() {
                print_not_checked(&mut out, &report.not_checked)?;
            }
            out.line(&format!("{} is in {}.", report.db, report.out))?;
        }
    }
    out.finish()?;
    Ok(ExitStatus::OK)
}
