//! `outbox-sync verify`: does what a row holds verify.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

use clap::Args;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output, Table, again, stderr_progress};
use event_log::Place;
use outbox_sync::RenderingSearch;
use outbox_sync::holdings::NotRead;
use outbox_sync::inputs::Purpose;
use outbox_sync::known::KnownLog;
use outbox_sync::source::Source;
use outbox_sync::verify::{Outcome, RowVerdict, VerdictCounts, check_rows};
use serde::Serialize;

use super::{
    KeyArgs, OptionalDb, cancel_on_signals, expand, print_not_checked, print_place, reservations,
    write_lines, write_not_checked, write_place,
};

/// Verify every row of outboxes and exports: payload hash, cipher hash, signing hash, signature
///
/// Keys come from the log (--db), from key files (--keys) and from what outboxes fetched of their peers, in this
/// order; each verdict says which. Ends with 0 if all that is signed holds, 4 if something does not hold or could
/// not be checked, 8 if a file cannot be read whole (the others are verified all the same).
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Outboxes and exports: files, folders (all outboxes below them) or patterns
    #[arg(required = true, value_name = "OUTBOX|EXPORT")]
    inputs: Vec<String>,

    #[command(flatten)]
    db: OptionalDb,

    #[command(flatten)]
    keys: KeyArgs,

    /// Show every row, not only those that do not hold
    #[arg(long)]
    all: bool,
}

const SCHEMA: &str = "outbox-verify/1";
const GROUP: usize = 1024;
/// So many rows are shown for people without --all.
const MAX_SHOWN: usize = 50;

#[derive(Serialize)]
struct FileVerdict {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    #[serde(flatten)]
    counts: VerdictCounts,
    /// Rows that do not even name their event.
    unreadable: Vec<String>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    files: Vec<FileVerdict>,
    rows: Vec<RowVerdict>,
    not_read: Vec<NotRead>,
    key_flaws: Vec<String>,
    totals: VerdictCounts,
    not_checked: Vec<String>,
}

/// Runs the command.
pub fn run(args: &VerifyArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let mut not_read = Vec::new();
    let mut not_checked = Vec::new();
    let paths = expand(
        &args.inputs,
        Purpose::Read,
        &mut not_read,
        &mut not_checked,
        global,
    );
    let (mut keys, place, reserved) = again(&cancel, || {
        let mut log = args.db.open(&cancel)?;
        let keys = args.keys.book(log.as_mut())?;
        let place = log.as_ref().and_then(KnownLog::place).cloned();
        Ok((keys, place, reservations(log.as_ref())))
    })?;

    let mut sources = Vec::new();
    for path in paths {
        match Source::open(&path) {
            Ok(source) => {
                // All keys first: a peer's outbox may know the key of another's.
                if let Some(outbox) = source.outbox() {
                    keys.add_peers(outbox)
                        .map_err(|e| CliError::input(e.to_string()))?;
                }
                sources.push((path, source.rows()));
            }
            Err(error) => {
                CliError::input(error.to_string()).report(global);
                not_read.push(NotRead {
                    path: path.display().to_string(),
                    why: error.to_string(),
                });
            }
        }
    }

    let mut document = Document {
        schema: SCHEMA,
        place,
        files: Vec::new(),
        rows: Vec::new(),
        not_read,
        key_flaws: keys.flaws.clone(),
        totals: VerdictCounts::default(),
        not_checked: not_checked.into_iter().chain(reserved).collect(),
    };
    let mut out = Output::stdout();
    let progress = stderr_progress(global);
    let total: Option<u64> = sources.iter().map(|(_, rows)| *rows).sum();
    progress.start("verifying rows", total);
    let mut search = RenderingSearch::new(keys.registry());
    let mut shown = Shown::default();
    let mut failed_write = None;
    let mut status = ExitStatus::OK;
    for (path, _) in sources {
        let mut file = FileVerdict {
            path: path.display().to_string(),
            damage: None,
            counts: VerdictCounts::default(),
            unreadable: Vec::new(),
        };
        let source = match Source::open(&path) {
            Ok(source) => source,
            Err(error) => {
                CliError::input(error.to_string()).report(global);
                document.not_read.push(NotRead {
                    path: file.path,
                    why: error.to_string(),
                });
                continue;
            }
        };
        file.damage = source.damage();
        let of_file = source.not_checked();
        document
            .not_checked
            .extend(of_file.iter().map(|what| format!("{}: {what}", file.path)));
        let mut unreadable = Vec::new();
        let result = source.for_each_group(GROUP, &mut |what| unreadable.push(what), &mut |group| {
            progress.advance(group.len() as u64);
            for (_, verdict, _) in check_rows(group, &keys, &mut search) {
                file.counts.add(&verdict);
                if !args.all && verdict.verdict == Outcome::Holds {
                    continue;
                }
                if global.format == Format::Ndjson {
                    if let Err(error) = write_lines(&mut out, SCHEMA, "row", [&verdict]) {
                        failed_write = Some(error);
                    }
                } else if global.format == Format::Json || args.all || shown.has_room(&verdict) {
                    document.rows.push(verdict);
                }
            }
            if cancel.is_cancelled() || failed_write.is_some() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        cancel.check()?;
        if let Some(error) = failed_write {
            return Err(error);
        }
        if let Err(error) = result {
            file.damage = Some(error.to_string());
        }
        if let Some(damage) = &file.damage {
            CliError::input(format!("{}: {damage}", file.path)).report(global);
            status |= ExitStatus::FAILED;
        }
        file.counts.malformed += unreadable.len() as u64;
        file.unreadable = unreadable;
        document.totals.add_all(&file.counts);
        document.files.push(file);
    }
    progress.finish();

    let totals = &document.totals;
    if totals.fails + totals.not_checked + totals.malformed > 0 || !document.key_flaws.is_empty() {
        status |= ExitStatus::PROBLEMS;
    }
    if !document.not_read.is_empty() {
        status |= ExitStatus::FAILED;
    }
    if totals.unsigned > 0 {
        let what = format!("{} rows that nobody signed", totals.unsigned);
        document.not_checked.push(what);
    }
    if totals.not_checked > 0 {
        let what = format!("the signatures of {} rows (why: in each)", totals.not_checked);
        document.not_checked.push(what);
    }
    let not_read = document.not_read.iter();
    document
        .not_checked
        .extend(not_read.map(|file| format!("{}: not read", file.path)));
    print(&mut out, &document, args, global)?;
    out.finish()?;
    Ok(status)
}

/// How many rows are kept to be shown, for people: no verdict may take the room of another.
#[derive(Default)]
struct Shown(BTreeMap<u8, usize>);

impl Shown {
    fn has_room(&mut self, verdict: &RowVerdict) -> bool {
        let of_kind = self.0.entry(order(verdict)).or_default();
        *of_kind += 1;
        *of_kind <= MAX_SHOWN + 1
    }
}

/// What fails comes first.
fn order(verdict: &RowVerdict) -> u8 {
    match verdict.verdict {
        Outcome::Fails => 0,
        Outcome::Malformed => 1,
        Outcome::NotChecked => 2,
        Outcome::Unsigned => 3,
        Outcome::Holds => 4,
    }
}

fn print(
    out: &mut Output<impl std::io::Write>,
    document: &Document,
    args: &VerifyArgs,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    match global.format {
        Format::Json => return out.json(document),
        Format::Ndjson => {
            write_place(out, SCHEMA, document.place.as_ref())?;
            write_lines(out, SCHEMA, "file", &document.files)?;
            write_lines(out, SCHEMA, "not_read", &document.not_read)?;
            write_lines(out, SCHEMA, "totals", [&document.totals])?;
            return write_not_checked(out, SCHEMA, &document.not_checked);
        }
        Format::Table => print_place(out, document.place.as_ref())?,
    }
    let mut files = Table::new(&[
        "file",
        "rows",
        "holds",
        "fails",
        "not checked",
        "unsigned",
        "malformed",
        "found again",
    ]);
    let row = |name: String, c: &VerdictCounts| {
        let counts = [
            c.total(),
            c.holds,
            c.fails,
            c.not_checked,
            c.unsigned,
            c.malformed,
            c.renderings_found,
        ];
        std::iter::once(name)
            .chain(counts.map(|n| n.to_string()))
            .collect::<Vec<_>>()
    };
    let mut by_failures: Vec<&FileVerdict> = document.files.iter().collect();
    by_failures.sort_by_key(|file| (Reverse(file.counts.fails), Reverse(file.counts.malformed)));
    for file in by_failures {
        files.row(row(file.path.clone(), &file.counts));
    }
    files.row(row(format!("{} files", document.files.len()), &document.totals));
    out.table(&files)?;
    if !document.rows.is_empty() {
        out.line("")?;
        let mut rows = Table::new(&["row", "event", "verdict", "key from", "why"]);
        let shown = if args.all { document.rows.len() } else { MAX_SHOWN };
        let mut in_order: Vec<&RowVerdict> = document.rows.iter().collect();
        in_order.sort_by_key(|row| order(row));
        for row in in_order.into_iter().take(shown) {
            let verdict = serde_json::to_value(row.verdict).unwrap_or_default();
            rows.row([
                row.place.clone(),
                row.event_id.to_string(),
                verdict.as_str().unwrap_or_default().replace('_', " "),
                row.key_from.map_or("-", outbox_sync::KeySource::name).to_owned(),
                row.why.clone().unwrap_or_default(),
            ]);
        }
        out.table(&rows)?;
        if document.rows.len() > shown {
            out.line("… and more: --all, or --format json, shows every row")?;
        }
    }
    for file in &document.files {
        for what in &file.unreadable {
            out.line(&format!("unreadable: {what}"))?;
        }
    }
    for flaw in &document.key_flaws {
        out.line(&format!("keys: {flaw}"))?;
    }
    print_not_checked(out, &document.not_checked)
}
