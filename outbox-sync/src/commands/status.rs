//! `outbox-sync status`: outboxes in figures, a whole fleet in one table.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use cli_common::provenance::Provenance;
use cli_common::{
    Cancel, CliError, CommandLine, ExitStatus, GlobalArgs, Next, Output, Table, Tone, again, print_report,
    stderr_progress,
};
use event_log::Place;
use outbox_sync::holdings::NotRead;
use outbox_sync::inputs::Purpose;
use outbox_sync::known::KnownLog;
use outbox_sync::status::{OutboxFigures, Survey, Totals};
use outbox_sync::{KeyBook, Outbox, OutboxError, StatusCounts};
use serde::Serialize;
use ves::{StreamKey, Timestamp};

use super::errors::{log_error, outbox_error};
use super::provenance::{InputFiles, KEYS, MANIFEST, print_head, write_head};
use super::{
    KeyArgs, ManifestArg, OptionalDb, again_with_whole_files, cancel_on_signals, expand, or_dash, print_end,
    print_some, report_empty_log, reservations, write_end, write_lines,
};

/// Say what is in outboxes
///
/// Rows by state, rows that nobody signed or that cannot be read, claims that contradict each other or the head, the
/// oldest event that waits, cursors. The files are not changed.
///
/// With --db or --keys signatures are checked too. Ends with 0 if all is well, 4 if rows cannot be read, contradict each
/// other or do not verify, 8 if a file cannot be read whole (the others are shown all the same).
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct StatusArgs {
    /// Outboxes: files, folders (all outboxes below them) or patterns
    #[arg(required_unless_present = "outbox_manifest", value_name = "OUTBOX")]
    outboxes: Vec<String>,

    #[command(flatten)]
    manifests: ManifestArg,

    #[command(flatten)]
    db: OptionalDb,

    #[command(flatten)]
    keys: KeyArgs,
}

const SCHEMA: &str = "outbox-status/1";

/// What `status` does not look at without keys.
const NOT_CHECKED: &str = "signatures and payload hashes: no keys were given (--db, --keys)";

/// So many contradictions are listed.
const MAX_LISTED: usize = 100;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    outboxes: Vec<OutboxFigures>,
    not_read: Vec<NotRead>,
    totals: Totals,
    /// Numbers that are claimed for more than one event; the first of them.
    doubled: Vec<Doubled>,
    not_checked: Vec<String>,
    next: Next,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            provenance: None,
            place: None,
            outboxes: Vec::new(),
            not_read: Vec::new(),
            totals: Totals::default(),
            doubled: Vec::new(),
            not_checked: Vec::new(),
            next: Next::nothing("nothing was looked at"),
        }
    }
}

#[derive(Serialize)]
struct Doubled {
    #[serde(flatten)]
    stream: StreamKey,
    sequence: u64,
}

/// Runs the command.
pub fn run(args: &StatusArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let mut document = Document::default();
    let paths = expand(
        (&args.outboxes, Some(&args.manifests)),
        Purpose::Read,
        &mut document.not_read,
        &mut document.not_checked,
        global,
    );
    let mut inputs = InputFiles::of_outboxes(&paths, global, &cancel)?;
    inputs.add(MANIFEST, args.manifests.files());
    inputs.add(KEYS, args.keys.files());
    inputs.add_log(args.db.target()?.as_ref());
    let asked = again(&cancel, || ask_log(args, &cancel, global))?;
    document.place = asked.place;
    document.not_checked.extend(asked.reserved);
    let mut status = asked.status;
    let mut survey = Survey {
        heads: asked.heads,
        ..Survey::default()
    };
    if asked.book.registry().is_empty() {
        document.not_checked.push(NOT_CHECKED.into());
    } else {
        survey.keys = Some(&asked.book);
    }
    status |= count(&paths, &mut survey, &mut document, &cancel, global)?;
    document.totals.not_read = document.not_read.len() as u64;
    document.totals.doubled_claims = survey.claims.doubled.len() as u64;
    document.totals.two_numbers = survey.claims.two_numbers.len() as u64;
    if document.totals.doubled_claims + document.totals.two_numbers > 0 {
        status |= ExitStatus::PROBLEMS;
    }
    let doubled = survey.claims.doubled.iter().take(MAX_LISTED);
    document.doubled = doubled
        .map(|(stream, sequence)| Doubled {
            stream: *stream,
            sequence: *sequence,
        })
        .collect();
    if !document.not_read.is_empty() {
        status |= ExitStatus::FAILED;
    }
    document
        .not_checked
        .extend(document.not_read.iter().map(|f| format!("{}: not read", f.path)));
    document.next = next(&document, args);
    document.provenance = Some(inputs.provenance());
    print(&document, global)?;
    Ok(status)
}

/// Counts the rows of all outboxes. One that cannot be read is named and does not stop the others.
fn count(
    paths: &[PathBuf],
    survey: &mut Survey<'_>,
    document: &mut Document,
    cancel: &Cancel,
    global: &GlobalArgs,
) -> Result<ExitStatus, CliError> {
    let mut status = ExitStatus::OK;
    let progress = stderr_progress(global);
    progress.start("reading outboxes", Some(paths.len() as u64));
    for path in paths {
        cancel.check()?;
        match Outbox::salvage(path).and_then(|outbox| OutboxFigures::in_fleet(&outbox, survey)) {
            Ok(figures) => {
                if figures.has_problems() {
                    status |= ExitStatus::PROBLEMS;
                }
                if let Some(damage) = &figures.meta.damage {
                    CliError::input(format!("{}: {damage}", path.display()))
                        .with_hint("what can still be read of it is counted")
                        .report(global);
                    status |= ExitStatus::FAILED;
                }
                document.totals.add(&figures);
                let not_checked = figures.meta.not_checked.iter();
                document
                    .not_checked
                    .extend(not_checked.map(|what| format!("{}: {what}", path.display())));
                document.outboxes.push(figures);
            }
            Err(error) => {
                outbox_error(&error).report(global);
                document.not_read.push(not_read(&error));
            }
        }
        progress.advance(1);
    }
    progress.finish();
    Ok(status)
}

fn next(document: &Document, args: &StatusArgs) -> Next {
    let damaged = document.outboxes.iter().filter(|o| o.meta.damage.is_some());
    let not_whole = document.not_read.len() + damaged.count();
    if not_whole > 0 {
        return again_with_whole_files(not_whole);
    }
    let t = &document.totals;
    let command = |name: &str| {
        CommandLine::of_this_tool(name)
            .with(&args.outboxes)
            .with(args.manifests.words())
            .with(args.db.words())
            .with(args.keys.words())
    };
    let bad = t.malformed + t.verdicts.map_or(0, |v| v.fails + v.not_checked);
    if bad > 0 {
        let why = format!("{bad} rows cannot be read or do not verify; see which, and why");
        return Next::run_for(why, &command("verify"));
    }
    if args.db.is_given() {
        let why = "see whether the log has what the outboxes call synced (nothing is changed)";
        return Next::run_for(why, &command("reconcile"));
    }
    let claims = t.doubled_claims + t.two_numbers + t.beyond_head;
    let why = match claims {
        0 => "only the log knows whether what is called synced is there",
        _ => "only the log knows which of the claims that contradict each other hold",
    };
    let why = format!(
        "{why}: set DATABASE_URL to its URL, or to the path of a snapshot of it, then (nothing is changed)"
    );
    Next::run_for(why, &command("reconcile"))
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
    write_head(out, SCHEMA, document.provenance.as_ref(), document.place.as_ref())?;
    write_lines(out, SCHEMA, "outbox", &document.outboxes)?;
    write_lines(out, SCHEMA, "not_read", &document.not_read)?;
    write_lines(out, SCHEMA, "totals", [&document.totals])?;
    write_end(out, SCHEMA, &document.not_checked, &document.next)
}

/// What the log says, if one is named.
struct Asked {
    /// Its keys, and those of key files.
    book: KeyBook,
    heads: BTreeMap<StreamKey, u64>,
    place: Option<Place>,
    /// What it leaves open.
    reserved: Vec<String>,
    status: ExitStatus,
}

fn ask_log(args: &StatusArgs, cancel: &Cancel, global: &GlobalArgs) -> Result<Asked, CliError> {
    let mut log = args.db.open(cancel)?;
    let book = args.keys.book(log.as_mut())?;
    let states = match &mut log {
        Some(log) => log.streams().map_err(log_error)?,
        None => Vec::new(),
    };
    let heads = states.into_iter().map(|s| (s.stream, s.last.unwrap_or(0)));
    let heads = heads.collect();
    let mut reserved = Vec::new();
    let status = report_empty_log(log.as_mut(), &mut reserved, global)?;
    reserved.extend(reservations(log.as_ref()));
    Ok(Asked {
        book,
        heads,
        place: log.as_ref().and_then(KnownLog::place).cloned(),
        reserved,
        status,
    })
}

fn not_read(error: &OutboxError) -> NotRead {
    NotRead {
        path: error.path.display().to_string(),
        why: error.kind.to_string(),
    }
}

const COLUMNS: &str = "\
Columns (outboxes in which something is wrong first, then those with most unsent):
  PENDING to PULLED     rows by state
  OLDEST UNSENT         when the oldest event that waits was created
Below them, of each outbox in which something is wrong, what it is.
With --all or --wide also:
  UNSIGNED, MALFORMED   rows that nobody signed; that cannot be read
  FLAWED                rows with a field that no agent writes
  DOUBLED, 2 NUMBERS    numbers claimed for two events; events with two numbers
  > HEAD, CLAIM         claims beyond the log's head; the highest claim
  FAILS                 rows that do not verify (- : no keys were given)
  HEAD, CURSOR          what the outbox says of the log; how far it has pulled";

fn print_table(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    print_verdict(out, document)?;
    print_head(out, document.provenance.as_ref(), document.place.as_ref())?;
    let mut in_order: Vec<&OutboxFigures> = document.outboxes.iter().collect();
    in_order.sort_by_key(|o| {
        let unsent = o.meta.outbox.pending + o.meta.outbox.failed + o.meta.outbox.rejected;
        std::cmp::Reverse((is_wrong(o), unsent))
    });
    let shown = out.shown(in_order.len());
    let names: Vec<String> = in_order
        .iter()
        .map(|o| o.meta.path.display().to_string())
        .collect();
    out.line("")?;
    let short = out.shorten_paths("Outboxes are", names[..shown].iter().map(String::as_str))?;
    let rows: Vec<_> = (names.iter())
        .map(|name| short.of(name).to_owned())
        .zip(in_order.iter().copied())
        .collect();
    if out.all() || out.is_wide() {
        print_all_columns(out, &rows[..shown], &document.totals)?;
    } else {
        print_outboxes(out, &rows[..shown], &document.totals)?;
    }
    out.more(0, in_order.len() - shown, "outbox(es)")?;
    print_wrong(out, &rows)?;
    let faults = in_order.iter().flat_map(|o| {
        let state = o.meta.flaws.iter();
        let state = state.map(|flaw| format!("{}: {flaw}", o.meta.path.display()));
        o.faults.iter().cloned().chain(state)
    });
    print_some(out, "fault", faults)?;
    print_end(out, &document.not_checked, &document.next)
}

fn is_wrong(o: &OutboxFigures) -> bool {
    o.meta.damage.is_some() || o.has_problems()
}

/// What is wrong with each outbox, in words.
fn print_wrong(
    out: &mut Output<impl std::io::Write>,
    rows: &[(String, &OutboxFigures)],
) -> Result<(), CliError> {
    let wrong = rows.iter().filter_map(|(name, o)| {
        let counts = [
            (o.verdicts.map_or(0, |v| v.fails), "rows do not verify"),
            (
                o.verdicts.map_or(0, |v| v.not_checked),
                "signatures were not checked",
            ),
            (o.malformed, "rows cannot be read"),
            (o.flawed, "rows have a field that no agent writes"),
            (o.doubled_claims, "numbers are claimed for two events"),
            (o.two_numbers, "events have two numbers"),
            (o.beyond_head, "claims are beyond the head"),
            (
                o.meta.flaws.len() as u64,
                "values of its sync state cannot be read",
            ),
        ];
        let counts = counts.into_iter().filter(|(count, _)| *count > 0);
        let counts = counts.map(|(count, what)| format!("{count} {what}"));
        let damage = o.meta.damage.iter().map(|damage| format!("damaged: {damage}"));
        let all: Vec<String> = damage.chain(counts).collect();
        (!all.is_empty()).then(|| format!("{name}: {}", all.join("; ")))
    });
    print_some(out, "wrong", wrong)
}

fn print_verdict(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    let t = &document.totals;
    let wrong = document.outboxes.iter().filter(|o| is_wrong(o)).count();
    let doubled = match t.doubled_claims + t.two_numbers {
        0 => String::new(),
        _ => format!(
            " Across them {} number(s) are claimed for two events, and {} event(s) have two numbers.",
            t.doubled_claims, t.two_numbers
        ),
    };
    let not_read = match document.not_read.len() {
        0 => String::new(),
        not => format!(", and {not} could NOT be read"),
    };
    let bad = wrong > 0 || !doubled.is_empty() || !not_read.is_empty();
    out.verdict(
        if bad { Tone::Bad } else { Tone::Good },
        &format!(
            "{} outboxes: {} fine, {wrong} not (worst first){not_read}.{doubled}",
            document.outboxes.len(),
            document.outboxes.len() - wrong
        ),
    )
}

fn print_outboxes(
    out: &mut Output<impl std::io::Write>,
    shown: &[(String, &OutboxFigures)],
    totals: &Totals,
) -> Result<(), CliError> {
    let mut table = Table::new(&[
        "OUTBOX",
        "PENDING",
        "SYNCED",
        "FAILED",
        "REJECTED",
        "PULLED",
        "OLDEST UNSENT",
    ]);
    let row = |name: String, rows: &StatusCounts, pulled: u64, oldest: Option<Timestamp>| {
        let counts = [rows.pending, rows.synced, rows.failed, rows.rejected, pulled];
        // To the minute.
        let oldest = or_dash(oldest).chars().take(16).collect::<String>();
        let cells = counts.map(|count| count.to_string());
        let cells = std::iter::once(name).chain(cells);
        cells.chain([oldest.replace('T', " ")]).collect::<Vec<_>>()
    };
    for (name, o) in shown {
        table.row(row(name.clone(), &o.meta.outbox, o.meta.pulled, o.oldest_unsent));
    }
    let name = format!("{} outboxes", totals.outboxes);
    table.row(row(name, &totals.outbox, totals.pulled, totals.oldest_unsent));
    out.table(&table)
}

fn print_all_columns(
    out: &mut Output<impl std::io::Write>,
    shown: &[(String, &OutboxFigures)],
    totals: &Totals,
) -> Result<(), CliError> {
    let agents = out.labels_of(shown.iter().filter_map(|(_, o)| o.meta.agent_id));
    let mut table = Table::new(&[
        "OUTBOX",
        "SHAPE",
        "AGENT",
        "PENDING",
        "SYNCED",
        "FAILED",
        "REJECTED",
        "PULLED",
        "UNSIGNED",
        "MALFORMED",
        "FLAWED",
        "DOUBLED",
        "2 NUMBERS",
        "> HEAD",
        "FAILS",
        "CLAIM",
        "HEAD",
        "CURSOR",
        "OLDEST UNSENT",
    ]);
    for (name, o) in shown {
        table.row([
            name.clone(),
            o.meta.shape.as_str().to_owned(),
            o.meta
                .agent_id
                .map_or_else(|| "-".to_owned(), |id| agents.of(&id)),
            o.meta.outbox.pending.to_string(),
            o.meta.outbox.synced.to_string(),
            o.meta.outbox.failed.to_string(),
            o.meta.outbox.rejected.to_string(),
            o.meta.pulled.to_string(),
            o.unsigned.to_string(),
            o.malformed.to_string(),
            o.flawed.to_string(),
            o.doubled_claims.to_string(),
            o.two_numbers.to_string(),
            o.beyond_head.to_string(),
            or_dash(o.verdicts.map(|v| v.fails)),
            or_dash(o.highest_claim),
            or_dash(o.meta.head_sequence),
            or_dash(o.meta.last_pulled_sequence),
            or_dash(o.oldest_unsent),
        ]);
    }
    let t = totals;
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
        t.doubled_claims.to_string(),
        t.two_numbers.to_string(),
        t.beyond_head.to_string(),
        or_dash(t.verdicts.map(|v| v.fails)),
        String::new(),
        String::new(),
        String::new(),
        or_dash(t.oldest_unsent),
    ]);
    out.table(&table)
}

#[cfg(test)]
mod tests;
