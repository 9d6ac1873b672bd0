//! `outbox-sync verify`: does what a row holds verify.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::Args;
use cli_common::provenance::Provenance;
use cli_common::{
    Cancel, CliError, CommandLine, ExitStatus, Format, GlobalArgs, Next, Output, Progress, ShortPaths, Table,
    Tone, again, print_report_to, stderr_progress,
};
use event_log::Place;
use outbox_sync::holdings::NotRead;
use outbox_sync::inputs::Purpose;
use outbox_sync::known::KnownLog;
use outbox_sync::row::Item;
use outbox_sync::source::{Source, SourceError};
use outbox_sync::verify::{RowVerdict, VerdictCounts, Verification, check_rows};
use outbox_sync::{KeyBook, KeySource, RenderingSearch};
use serde::Serialize;

use super::errors::{outbox_error, source_error};
use super::log_name::LogName;
use super::provenance::{InputFiles, KEYS, MANIFEST, print_head, write_head};
use super::{
    KeyArgs, ManifestArg, OptionalDb, again_with_whole_files, cancel_on_signals, expand, print_end,
    print_some, report_empty_export, report_empty_log, reservations, write_end, write_lines,
};

/// Verify every row of outboxes and exports: payload hash, cipher hash, signing hash, signature
///
/// Keys come from the log (--db), from key files (--keys) and from what outboxes fetched of their peers, in this
/// order; each verdict says which. Ends with 0 if all that is signed holds, 4 if something does not hold or could
/// not be checked, 8 if a file cannot be read whole (the others are verified all the same). With --all every row is
/// shown, not only those that do not hold.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct VerifyArgs {
    /// Outboxes and exports: files, folders (all outboxes below them) or patterns
    #[arg(required_unless_present = "outbox_manifest", value_name = "OUTBOX|EXPORT")]
    inputs: Vec<String>,

    #[command(flatten)]
    manifests: ManifestArg,

    #[command(flatten)]
    db: OptionalDb,

    #[command(flatten)]
    keys: KeyArgs,
}

const SCHEMA: &str = "outbox-verify/1";
const GROUP: usize = 1024;
/// So many rows are shown for people without --all.
const MAX_SHOWN: usize = 12;

#[derive(Default, Serialize)]
struct FileVerdict {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
    #[serde(flatten)]
    counts: VerdictCounts,
    /// Rows that do not even name their event.
    unreadable: Vec<String>,
}

impl FileVerdict {
    fn of(path: &Path, damage: Option<String>) -> Self {
        Self {
            path: path.display().to_string(),
            damage,
            ..Self::default()
        }
    }
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    files: Vec<FileVerdict>,
    rows: Vec<RowVerdict>,
    not_read: Vec<NotRead>,
    key_flaws: Vec<String>,
    totals: VerdictCounts,
    not_checked: Vec<String>,
    next: Next,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            provenance: None,
            place: None,
            files: Vec::new(),
            rows: Vec::new(),
            not_read: Vec::new(),
            key_flaws: Vec::new(),
            totals: VerdictCounts::default(),
            not_checked: Vec::new(),
            next: Next::nothing("nothing was looked at"),
        }
    }
}

/// Runs the command.
pub fn run(args: &VerifyArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let mut document = Document::default();
    let mut status = ExitStatus::OK;
    let paths = expand(
        (&args.inputs, Some(&args.manifests)),
        Purpose::Read,
        &mut document.not_read,
        &mut document.not_checked,
        global,
    );
    let mut inputs = InputFiles::of_outboxes(&paths, global, &cancel)?;
    inputs.add(MANIFEST, args.manifests.files());
    inputs.add(KEYS, args.keys.files());
    let log_name = args.db.log_name()?;
    inputs.add_log(log_name.as_ref().and_then(LogName::target));
    let mut keys = again(&cancel, || {
        let mut log = log_name.as_ref().map(|name| name.open(&cancel)).transpose()?;
        let keys = args.keys.book(log.as_mut())?;
        document.place = log.as_ref().and_then(KnownLog::place).cloned();
        status = report_empty_log(log.as_mut(), &mut document.not_checked, global)?;
        document.not_checked.extend(reservations(log.as_ref()));
        Ok(keys)
    })?;
    let (files, total) = add_peers(paths, &mut keys, &mut document.not_read, global)?;
    document.key_flaws = keys.flaws.clone();

    let mut out = Output::stdout(global);
    let progress = stderr_progress(global);
    progress.start("verifying rows", total);
    let mut work = Work {
        global,
        cancel: &cancel,
        progress: &*progress,
        keys: &keys,
        search: RenderingSearch::new(keys.registry()),
        shown: Shown::default(),
        out: &mut out,
        document,
        status,
    };
    for file in files {
        work.verify(file)?;
    }
    progress.finish();
    let Work { document, status, .. } = work;
    let (mut document, status) = conclude(document, status, args, global);
    document.provenance = Some(inputs.provenance());
    print_report_to(
        out,
        global,
        &document,
        |out| print_table(out, &document),
        |out| print_ndjson(out, &document),
    )?;
    Ok(status)
}

/// All keys first: a peer's outbox may know the key of another's. Gives the files that can be opened, and how many rows
/// they have.
fn add_peers(
    paths: Vec<PathBuf>,
    keys: &mut KeyBook,
    not_read: &mut Vec<NotRead>,
    global: &GlobalArgs,
) -> Result<(Vec<ToVerify>, Option<u64>), CliError> {
    let mut opened = Vec::new();
    let mut total = Some(0);
    for path in paths {
        match Source::open(&path) {
            Ok(source) => {
                if let Some(outbox) = source.outbox() {
                    keys.add_peers(outbox).map_err(|e| outbox_error(&e))?;
                }
                total = total.zip(source.rows()).map(|(all, rows)| all + rows);
                let export = source.outbox().is_none().then_some(source);
                opened.push(ToVerify { path, export });
            }
            Err(error) => not_read.push(report_not_read(&path, &error, global)),
        }
    }
    Ok((opened, total))
}

fn report_not_read(path: &Path, error: &SourceError, global: &GlobalArgs) -> NotRead {
    source_error(error).report(global);
    NotRead {
        path: path.display().to_string(),
        why: error.to_string(),
    }
}

/// A file that can be opened.
struct ToVerify {
    path: PathBuf,
    /// An export stays open: what came from a pipe is gone. Of an outbox that would be a copy of each.
    export: Option<Source>,
}

/// The verification under way.
struct Work<'a, W: Write> {
    global: &'a GlobalArgs,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
    keys: &'a KeyBook,
    search: RenderingSearch<'a>,
    shown: Shown,
    out: &'a mut Output<W>,
    document: Document,
    status: ExitStatus,
}

impl<W: Write> Work<'_, W> {
    /// Verifies the rows of one file.
    fn verify(&mut self, file: ToVerify) -> Result<(), CliError> {
        let path = &file.path;
        let source = match file.export.map_or_else(|| Source::open(path), Ok) {
            Ok(source) => source,
            Err(error) => {
                let not_read = report_not_read(path, &error, self.global);
                self.document.not_read.push(not_read);
                return Ok(());
            }
        };
        let mut file = FileVerdict::of(path, source.damage());
        let of_file = source.not_checked();
        self.document
            .not_checked
            .extend(of_file.iter().map(|what| format!("{}: {what}", file.path)));
        let mut failed = None;
        let mut unreadable = Vec::new();
        let result = source.for_each_group(GROUP, &mut |what| unreadable.push(what), &mut |group| {
            let taken = self.take_group(group, &mut file.counts);
            failed = taken.err();
            if self.cancel.is_cancelled() || failed.is_some() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        self.cancel.check()?;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Err(error) = result {
            file.damage = Some(error.to_string());
        }
        if let Some(damage) = &file.damage {
            CliError::input(format!("{}: {damage}", file.path))
                .with_hint("get it again from where it was; what can still be read of it is verified")
                .report(self.global);
            self.status |= ExitStatus::FAILED;
        }
        file.counts.malformed += unreadable.len() as u64;
        file.unreadable = unreadable;
        if source.outbox().is_none() && file.counts.total() == 0 {
            self.status |= report_empty_export(&file.path, self.global);
        }
        self.document.totals.add_all(&file.counts);
        self.document.files.push(file);
        Ok(())
    }

    /// Checks rows, and keeps or writes those that are asked for.
    fn take_group(&mut self, group: Vec<Item>, counts: &mut VerdictCounts) -> Result<(), CliError> {
        self.progress.advance(group.len() as u64);
        for (_, verdict, _) in check_rows(group, self.keys, &mut self.search) {
            counts.add(&verdict);
            if !self.global.all && verdict.verdict == Verification::Holds {
                continue;
            }
            match self.global.format {
                Format::Ndjson => write_lines(self.out, SCHEMA, "row", [&verdict])?,
                Format::Json => self.document.rows.push(verdict),
                Format::Table if self.global.all || self.shown.has_room(&verdict) => {
                    self.document.rows.push(verdict);
                }
                Format::Table => {}
            }
        }
        Ok(())
    }
}

/// What the figures come to: the exit status, what was not checked, the next step.
fn conclude(
    mut document: Document,
    mut status: ExitStatus,
    args: &VerifyArgs,
    global: &GlobalArgs,
) -> (Document, ExitStatus) {
    let totals = document.totals;
    if totals.fails + totals.not_checked + totals.malformed > 0 || !document.key_flaws.is_empty() {
        status |= ExitStatus::PROBLEMS;
    }
    if !document.not_read.is_empty() {
        status |= ExitStatus::FAILED;
    }
    if totals.total() == 0 && document.not_read.is_empty() {
        CliError::input("there is nothing to verify: these files have no row")
            .with_hint("are they the right files? `outbox-sync status` says what is in each outbox")
            .report(global);
        status |= ExitStatus::PROBLEMS;
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
    document.next = next(&document, args);
    (document, status)
}

fn next(document: &Document, args: &VerifyArgs) -> Next {
    let totals = &document.totals;
    let damaged = document.files.iter().filter(|file| file.damage.is_some());
    let not_whole = document.not_read.len() + damaged.count();
    if not_whole > 0 {
        return again_with_whole_files(not_whole);
    }
    let bad = totals.fails + totals.malformed;
    if bad > 0 {
        if !args.db.is_given() {
            return Next::nothing(format!(
                "no command mends {bad} rows that do not hold: keep the files as they are; no other command uses such rows"
            ));
        }
        let census = CommandLine::of_this_tool("census")
            .with(&args.inputs)
            .with(args.manifests.words())
            .with(args.db.words())
            .with(args.keys.words());
        let why = format!(
            "{bad} rows do not hold, and no command mends or uses them; see what the log lacks, and who else has it"
        );
        return Next::run_for(why, &census);
    }
    if totals.not_checked > 0 && !args.db.is_given() {
        let why = format!(
            "{} rows wait for keys: set DATABASE_URL to the log's URL, or to the path of a snapshot of it, then",
            totals.not_checked
        );
        return Next::run_for(why, &CommandLine::of_this_process());
    }
    if totals.not_checked > 0 {
        let why = format!(
            "{} rows could not be checked (each says why): write keys that the log lacks to agent-keys.json \
             (docs/outboxes.md), then",
            totals.not_checked
        );
        let again = CommandLine::of_this_process().with(["--keys", "agent-keys.json"]);
        return Next::run_for(why, &again);
    }
    match totals.holds {
        0 => Next::nothing("no row that somebody signed is in these files"),
        _ => Next::nothing("all that is signed holds"),
    }
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
        Verification::Fails => 0,
        Verification::Malformed => 1,
        Verification::NotChecked => 2,
        Verification::Unsigned => 3,
        Verification::Holds => 4,
    }
}

const COLUMNS: &str = "\
First the rows that do not hold, each with its reason and where its key is known from; then
Columns (files with most failures first):
  HOLDS, FAILS  signed rows that verify; that do not
  NOT CHECKED   rows whose key is not known
  UNSIGNED      rows that nobody signed; MALFORMED, that cannot be read
  FOUND AGAIN   rows of the older shape whose signed text was found";

fn print_ndjson(out: &mut Output<impl Write>, document: &Document) -> Result<(), CliError> {
    write_head(out, SCHEMA, document.provenance.as_ref(), document.place.as_ref())?;
    write_lines(out, SCHEMA, "file", &document.files)?;
    write_lines(out, SCHEMA, "not_read", &document.not_read)?;
    write_lines(out, SCHEMA, "totals", [&document.totals])?;
    write_end(out, SCHEMA, &document.not_checked, &document.next)
}

fn print_table(out: &mut Output<impl Write>, document: &Document) -> Result<(), CliError> {
    print_verdict(out, document)?;
    print_head(out, document.provenance.as_ref(), document.place.as_ref())?;
    out.line("")?;
    let files = document.files.iter().map(|file| &*file.path);
    let short = out.shorten_paths("Files are", files)?;
    print_rows(out, &document.rows, &short)?;
    print_files(out, document, &short)?;
    let unreadable = document
        .files
        .iter()
        .flat_map(|file| file.unreadable.iter().cloned());
    print_some(out, "unreadable", unreadable)?;
    print_some(out, "keys", document.key_flaws.iter().cloned())?;
    print_end(out, &document.not_checked, &document.next)
}

fn print_verdict(out: &mut Output<impl Write>, document: &Document) -> Result<(), CliError> {
    let t = &document.totals;
    let tone = if t.fails + t.malformed > 0 {
        Tone::Bad
    } else if t.not_checked > 0 || !document.not_read.is_empty() {
        Tone::Doubt
    } else {
        Tone::Good
    };
    let not_read = match document.not_read.len() {
        0 => String::new(),
        files => format!(" {files} file(s) could NOT be read."),
    };
    out.verdict(
        tone,
        &format!(
            "{} rows of {} file(s): {} hold, {} FAIL, {} not checked, {} unsigned, {} malformed.{not_read}",
            t.total(),
            document.files.len(),
            t.holds,
            t.fails,
            t.not_checked,
            t.unsigned,
            t.malformed
        ),
    )
}

/// Single rows by what is wrong with them, what fails first. A reason may be long, so it has whole lines.
fn print_rows(out: &mut Output<impl Write>, all: &[RowVerdict], short: &ShortPaths) -> Result<(), CliError> {
    let mut in_order: Vec<&RowVerdict> = all.iter().collect();
    let reason = |row: &RowVerdict| (order(row), row.why.clone(), row.key_from.map(KeySource::name));
    in_order.sort_by_key(|row| order(row));
    let shown = if out.all() {
        all.len()
    } else {
        all.len().min(MAX_SHOWN)
    };
    let in_order = &mut in_order[..shown];
    in_order.sort_by_cached_key(|row| reason(row));
    let events = out.labels_of(in_order.iter().map(|row| row.event_id.to_string()));
    for alike in in_order.chunk_by(|a, b| reason(a) == reason(b)) {
        let (name, tone) = word(alike[0].verdict);
        let why = alike[0]
            .why
            .as_ref()
            .map_or_else(String::new, |why| format!(": {why}"));
        let key = (alike[0].key_from).map_or_else(String::new, |from| format!(" (key from {})", from.name()));
        out.line("")?;
        out.verdict(tone, &format!("{name}{why}{key}"))?;
        for row in alike {
            let event = events.of(&row.event_id.to_string());
            out.line(&format!("  {}, event {event}", short.of(&row.place)))?;
        }
    }
    if all.len() > shown {
        out.line("and more (--all, or --format json, shows every row)")?;
    }
    Ok(())
}

fn word(verdict: Verification) -> (&'static str, Tone) {
    match verdict {
        Verification::Fails => ("FAILS", Tone::Bad),
        Verification::Malformed => ("MALFORMED", Tone::Bad),
        Verification::NotChecked => ("NOT CHECKED", Tone::Doubt),
        Verification::Unsigned => ("UNSIGNED", Tone::Doubt),
        Verification::Holds => ("HOLDS", Tone::Good),
    }
}

/// The files, those with most failures first, and their sum.
fn print_files(
    out: &mut Output<impl Write>,
    document: &Document,
    short: &ShortPaths,
) -> Result<(), CliError> {
    let all = &document.files;
    let mut files = Table::new(&[
        "FILE",
        "ROWS",
        "HOLDS",
        "FAILS",
        "NOT CHECKED",
        "UNSIGNED",
        "MALFORMED",
        "FOUND AGAIN",
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
    let mut by_failures: Vec<&FileVerdict> = all.iter().collect();
    by_failures.sort_by_key(|file| {
        let c = &file.counts;
        Reverse((c.fails, c.malformed, c.not_checked))
    });
    let shown = out.shown(by_failures.len());
    for file in &by_failures[..shown] {
        files.row(row(short.of(&file.path).to_owned(), &file.counts));
    }
    files.row(row(format!("{} files", all.len()), &document.totals));
    out.line("")?;
    out.table(&files)?;
    out.more(0, by_failures.len() - shown, "file(s)")
}

#[cfg(test)]
mod tests;
