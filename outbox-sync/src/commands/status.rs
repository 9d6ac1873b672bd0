//! `outbox-sync status`: outboxes in figures, a whole fleet in one table.

use std::path::PathBuf;

use clap::Args;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output, Table, stderr_progress};
use outbox_sync::status::{OutboxFigures, Totals};
use outbox_sync::{Outbox, OutboxError, expand_inputs};
use serde::Serialize;

/// Say what is in outboxes: rows by state, rows that nobody signed, rows that cannot be read, claims and
/// cursors. The files are not changed
///
/// Ends with 0 if all is well, 4 if rows cannot be read, 8 if a file cannot be read (the others are shown all
/// the same).
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Outboxes: files, folders (their *.db, *.sqlite, *.sqlite3) or patterns
    #[arg(required = true, value_name = "OUTBOX")]
    outboxes: Vec<String>,
}

const SCHEMA: &str = "outbox-status/1";

/// What `status` never looks at.
const NOT_CHECKED: &str = "signatures and payload hashes: status counts rows, it does not verify them";

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    outboxes: Vec<OutboxFigures>,
    not_read: Vec<NotRead>,
    totals: Totals,
    not_checked: Vec<String>,
}

#[derive(Clone, Serialize)]
struct NotRead {
    path: String,
    why: String,
}

#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    schema: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

/// Runs the command.
pub fn run(args: &StatusArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut status = ExitStatus::OK;
    let mut document = Document {
        schema: SCHEMA,
        outboxes: Vec::new(),
        not_read: Vec::new(),
        totals: Totals::default(),
        not_checked: vec![NOT_CHECKED.into()],
    };
    // Input by input, so that one that names nothing does not hide the others.
    let mut paths: Vec<PathBuf> = Vec::new();
    let found: Vec<&String> = args
        .outboxes
        .iter()
        .filter(|input| match expand_inputs(std::slice::from_ref(input)) {
            Ok(_) => true,
            Err(error) => {
                CliError::input(error.to_string()).report(global);
                document.not_read.push(NotRead {
                    path: error.input,
                    why: error.what,
                });
                false
            }
        })
        .collect();
    if !found.is_empty() {
        paths = expand_inputs(&found).map_err(|error| CliError::input(error.to_string()))?;
    }

    let progress = stderr_progress(global);
    progress.start("reading outboxes", Some(paths.len() as u64));
    for path in paths {
        match Outbox::open(&path).and_then(|outbox| OutboxFigures::of(&outbox)) {
            Ok(figures) => {
                if figures.has_problems() {
                    status |= ExitStatus::PROBLEMS;
                }
                document.totals.add(&figures);
                let not_checked = figures.meta.not_checked.iter();
                document
                    .not_checked
                    .extend(not_checked.map(|what| format!("{}: {what}", path.display())));
                document.outboxes.push(figures);
            }
            Err(error) => {
                CliError::input(error.to_string()).report(global);
                document.not_read.push(not_read(&error));
            }
        }
        progress.advance(1);
    }
    progress.finish();
    document.totals.not_read = document.not_read.len() as u64;
    if !document.not_read.is_empty() {
        status |= ExitStatus::FAILED;
    }
    document
        .not_checked
        .extend(document.not_read.iter().map(|f| format!("{}: not read", f.path)));

    let mut out = Output::stdout();
    match global.format {
        Format::Table => print_table(&mut out, &document)?,
        Format::Json => out.json(&document)?,
        Format::Ndjson => {
            out.ndjson(document.outboxes.iter().map(|value| Line {
                schema: SCHEMA,
                kind: "outbox",
                value,
            }))?;
            out.ndjson(document.not_read.iter().map(|value| Line {
                schema: SCHEMA,
                kind: "not_read",
                value,
            }))?;
            out.ndjson([Line {
                schema: SCHEMA,
                kind: "totals",
                value: &document.totals,
            }])?;
        }
    }
    out.finish()?;
    Ok(status)
}

fn not_read(error: &OutboxError) -> NotRead {
    NotRead {
        path: error.path.display().to_string(),
        why: error.kind.to_string(),
    }
}

fn print_table(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    let mut table = Table::new(&[
        "outbox",
        "shape",
        "agent",
        "pending",
        "synced",
        "failed",
        "rejected",
        "pulled",
        "unsigned",
        "malformed",
        "flawed",
        "highest claim",
        "cursor",
    ]);
    let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    for o in &document.outboxes {
        table.row([
            o.meta.path.display().to_string(),
            format!("{:?}", o.meta.shape).to_lowercase(),
            o.meta
                .agent_id
                .map_or_else(|| "-".to_owned(), |id| id.to_string()),
            o.meta.outbox.pending.to_string(),
            o.meta.outbox.synced.to_string(),
            o.meta.outbox.failed.to_string(),
            o.meta.outbox.rejected.to_string(),
            o.meta.pulled.to_string(),
            o.unsigned.to_string(),
            o.malformed.to_string(),
            o.flawed.to_string(),
            number(o.highest_claim),
            number(o.meta.last_pulled_sequence),
        ]);
    }
    let t = &document.totals;
    table.row([
        format!("{} outboxes", t.outboxes),
        String::new(),
        String::new(),
        t.outbox.pending.to_string(),
        t.outbox.synced.to_string(),
        t.outbox.failed.to_string(),
        t.outbox.rejected.to_string(),
        t.pulled.to_string(),
        t.unsigned.to_string(),
        t.malformed.to_string(),
        t.flawed.to_string(),
    ]);
    out.table(&table)?;
    for o in &document.outboxes {
        let state = o
            .meta
            .flaws
            .iter()
            .map(|flaw| format!("{}: {flaw}", o.meta.path.display()));
        for fault in o.faults.iter().cloned().chain(state) {
            out.line(&format!("fault: {}", cli_common::escape_controls(&fault)))?;
        }
    }
    for what in &document.not_checked {
        out.line(&format!("NOT CHECKED: {}", cli_common::escape_controls(what)))?;
    }
    Ok(())
}
