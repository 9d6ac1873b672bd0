//! `sequencer-recovery snapshot`: the log in one file.

use std::path::PathBuf;

use clap::Args;
use cli_common::{
    CliError, CommandLine, DbArg, ExitStatus, Frame, GlobalArgs, Next, Output, Table, Tone, stderr_progress,
};
use event_log::{AllLeftOut, Place};
use sequencer_recovery::damage;
use sequencer_recovery::finding::{Finding, Severity};
use serde::Serialize;

use super::report::{print_findings, print_not_checked, print_place};
use super::{cancel_on_signals, log_inputs, made, open, read_on, write_place};

/// Copy the log into a snapshot file
///
/// In one consistent view: to plan and rehearse without touching production.
///
/// Ends with 8 if a row could not be copied, or not whole (the snapshot says which), and with 4 if the database is damaged
/// otherwise.
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
pub(super) struct Report {
    pub(super) schema: &'static str,
    pub(super) db: String,
    pub(super) place: Place,
    pub(super) out: String,
    pub(super) tables: Vec<Copied>,
    /// What the snapshot does not have, or not whole. It says so itself.
    pub(super) left_out: AllLeftOut,
    /// What is damaged in the log.
    pub(super) findings: Vec<Finding>,
    pub(super) not_checked: Vec<String>,
}

#[derive(Serialize)]
pub(super) struct Copied {
    pub(super) table: &'static str,
    /// `None` if the database has no such table.
    pub(super) rows: Option<u64>,
}

/// Runs the command.
pub fn run(args: &SnapshotArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let hashed = log_inputs(&args.db)?;
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let report = read_on(&cancel, async || {
        let (log, db) = open(&args.db, &cancel).await?;
        let mut view = log.view().await?;
        let copied = event_log::write_snapshot(&mut view, log.target(), &args.out, progress.as_ref()).await?;
        let tables = copied
            .rows
            .into_iter()
            .map(|(table, rows)| Copied { table, rows })
            .collect();
        Ok(Report {
            findings: damage::findings(&copied.damage),
            left_out: copied.left_out,
            not_checked: (log.place().reservation().into_iter())
                .chain(damage::not_checked(&copied.damage))
                .collect(),
            schema: SCHEMA,
            db,
            place: log.place().clone(),
            out: args.out.display().to_string(),
            tables,
        })
    })?;
    drop(progress);
    global.recorder.file("snapshot", &args.out);
    let audit = CommandLine::of_this_tool("audit").option("--db", args.out.display());
    let frame = Frame {
        schema: SCHEMA,
        provenance: &made(hashed),
        next: &Next::run_for(
            "look at the copy, with the witnesses: add --outbox, --anchors, --witness",
            &audit,
        ),
    };
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| {
            write_place(lines, &report.place)?;
            lines.all("table", &report.tables)?;
            lines.all("left_out", &report.left_out.rows)?;
            lines.all("finding", &report.findings)?;
            lines.not_checked(&report.not_checked)
        },
    )?;
    let mut status = ExitStatus::OK;
    if report.findings.iter().any(|f| f.severity == Severity::Problem) {
        status |= ExitStatus::PROBLEMS;
    }
    if report.left_out.count > 0 {
        status |= ExitStatus::FAILED;
    }
    Ok(status)
}

pub(super) fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &Report) -> Result<(), CliError> {
    let of_rows = report.left_out.rows.iter().filter_map(event_log::LeftOut::stream);
    let labels = out.label_streams(of_rows.chain(report.findings.iter().filter_map(|f| f.stream)));
    out.line(&format!("{} is in {}.", report.db, report.out))?;
    if report.left_out.count > 0 {
        out.verdict(
            Tone::Bad,
            &format!(
                "{} row(s) are not in the snapshot, or not whole; the snapshot says so, too.",
                report.left_out.count
            ),
        )?;
    }
    print_place(out, &report.place)?;
    out.line("")?;
    let mut table = Table::new(&["TABLE", "ROWS"]);
    for copied in &report.tables {
        table.row([
            copied.table.to_owned(),
            copied.rows.map_or("not there".into(), |n| n.to_string()),
        ]);
    }
    out.table(&table)?;
    let findings: Vec<&Finding> = report.findings.iter().collect();
    print_findings(out, &labels, "DAMAGE", &findings)?;
    let shown = out.shown(report.left_out.rows.len());
    for row in &report.left_out.rows[..shown] {
        let place = match (row.stream(), row.sequence_number) {
            (Some(stream), Some(number)) => format!(" at {number} of {stream}"),
            (Some(stream), None) => format!(" of {stream}"),
            _ => String::new(),
        };
        let how = if row.in_part { "not whole" } else { "left out" };
        out.line(&format!("{how}: a row of {}{place}: {}", row.table, row.what))?;
    }
    out.more(0, report.left_out.rows.len() - shown, "row(s)")?;
    print_not_checked(out, &report.not_checked)
}
