//! One file a command: parse, call the library, print. What several of them need is here.

pub mod backup;
pub mod census;
mod errors;
pub mod export;
mod log_name;
mod provenance;
pub mod push;
pub mod reconcile;
pub mod status;
pub mod verify;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use cli_common::{
    Cancel, CliError, CommandLine, DbTarget, ExitStatus, GlobalArgs, Next, Output, SchemaArg, db_words,
};
use errors::{file_error, log_error, not_read_error};
use event_log::{OpenOptions, Place};
use log_name::LogName;
use outbox_sync::holdings::{Heard, NotRead};
use outbox_sync::inputs::{Purpose, describe, expand_each};
use outbox_sync::keys::KeyBook;
use outbox_sync::known::KnownLog;
use serde::Serialize;

/// Where agents' keys are known from.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// A key file (docs/outboxes.md); may be given more than once
    #[arg(long, value_name = "FILE")]
    keys: Vec<PathBuf>,
}

const KEY_FILE: &str =
    "docs/outboxes.md says what a file of keys looks like; those of the log come with --db";

impl KeyArgs {
    /// The keys of the log and of the files.
    pub fn book(&self, log: Option<&mut KnownLog>) -> Result<KeyBook, CliError> {
        let mut book = KeyBook::default();
        if let Some(log) = log {
            book.add(log.keys().map_err(log_error)?, outbox_sync::KeySource::Log);
        }
        for path in &self.keys {
            let added = book.add_file(path).map_err(|e| file_error(&e, KEY_FILE))?;
            if added == 0 {
                let what = format!("{}: holds no key", path.display());
                return Err(CliError::input(what).with_hint(KEY_FILE));
            }
        }
        Ok(book)
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.keys.iter().map(PathBuf::as_path)
    }

    /// The files as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let words = self.keys.iter().flat_map(|path| ["--keys".into(), path.into()]);
        words.collect()
    }
}

/// Files that list outboxes.
#[derive(Debug, Args)]
pub struct ManifestArg {
    /// A text file that lists outboxes, one a line (docs/outboxes.md); may be given more than once
    #[arg(long = "outbox-manifest", id = "outbox_manifest", value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl ManifestArg {
    /// The files.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(PathBuf::as_path)
    }

    /// The files as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let words = self.files.iter();
        words
            .flat_map(|path| ["--outbox-manifest".into(), path.into()])
            .collect()
    }
}

/// `--db` without an error where it is missing.
#[derive(Debug, Args)]
pub struct OptionalDb {
    /// The log whose keys count: a PostgreSQL URL or a snapshot file
    #[arg(
        long = "db",
        value_name = "URL|FILE",
        env = "DATABASE_URL",
        hide_env_values = true
    )]
    db: Option<SecretUrl>,

    #[command(flatten)]
    schema: SchemaArg,
}

impl OptionalDb {
    /// Whether a log is named.
    pub fn is_given(&self) -> bool {
        self.db.as_ref().is_some_and(|name| !name.0.is_empty())
    }

    /// The log as words of a command line.
    pub fn words(&self) -> Vec<OsString> {
        let mut words = match &self.db {
            Some(name) if self.is_given() => db_words(&name.0),
            _ => Vec::new(),
        };
        words.extend(self.schema.words());
        words
    }

    /// The log that is named, if one is.
    pub fn target(&self) -> Result<Option<DbTarget>, CliError> {
        let name = self.db.as_ref().filter(|_| self.is_given());
        name.map(|name| self.schema.apply(DbTarget::parse(&name.0)?))
            .transpose()
    }

    /// As [`OptionalDb::target`], for commands that an archive is a log to, too.
    pub fn log_name(&self) -> Result<Option<LogName>, CliError> {
        let name = self.db.as_ref().filter(|_| self.is_given());
        name.map(|name| LogName::parse(&name.0, &self.schema)).transpose()
    }

    /// The log, if one is named.
    pub fn open(&self, cancel: &Cancel) -> Result<Option<KnownLog>, CliError> {
        self.target()?
            .map(|target| open_target(&target, cancel))
            .transpose()
    }
}

/// A URL that may hold a password: not shown in debug output.
#[derive(Clone)]
pub struct SecretUrl(pub OsString);

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&cli_common::redact_url(&self.0.to_string_lossy()))
    }
}

impl From<OsString> for SecretUrl {
    fn from(value: OsString) -> Self {
        Self(value)
    }
}

/// Opens a log.
pub fn open_target(target: &DbTarget, cancel: &Cancel) -> Result<KnownLog, CliError> {
    let options = OpenOptions::stopped_by(cancel);
    KnownLog::open_with(target, &options).map_err(log_error)
}

/// What a log leaves open: one in recovery, and what of it could not be read or compared. To be asked after all else.
pub fn reservations(log: Option<&KnownLog>) -> Vec<String> {
    let Some(log) = log else { return Vec::new() };
    let of_place = log.place().and_then(Place::reservation);
    let of_log = log.not_checked().iter().map(|what| format!("the log: {what}"));
    of_place.into_iter().chain(of_log).collect()
}

/// Says so if the log knows no stream and no event: then it is hardly the right one, and a comparison with it says nothing.
pub fn report_empty_log(
    log: Option<&mut KnownLog>,
    not_checked: &mut Vec<String>,
    global: &GlobalArgs,
) -> Result<ExitStatus, CliError> {
    let Some(log) = log else {
        return Ok(ExitStatus::OK);
    };
    if !log.is_empty().map_err(log_error)? {
        return Ok(ExitStatus::OK);
    }
    let what = format!("the log {} has no stream and no event", log.name());
    CliError::input(what.clone())
        .with_hint("is it the right database, schema or file? To it, everything is missing")
        .report(global);
    not_checked.push(format!("{what}: is it the right one?"));
    Ok(ExitStatus::PROBLEMS)
}

/// Says that an export, which was given to be read, holds no event.
pub fn report_empty_export(path: &str, global: &GlobalArgs) -> ExitStatus {
    CliError::input(format!("{path}: the export holds no event"))
        .with_hint("is it the right file? What was to be exported may not have been selected")
        .report(global);
    ExitStatus::PROBLEMS
}

/// A token that Ctrl-C and SIGTERM set.
pub fn cancel_on_signals() -> Result<Cancel, CliError> {
    Cancel::on_signals().map_err(|e| {
        CliError::io("signals cannot be watched")
            .with_hint("may this user start threads? (ulimit -u)")
            .with_source(e)
    })
}

/// So many files that could not be read are named on stderr; the report has all of them.
const MAX_TOLD: usize = 12;

/// The files that inputs name. An input that names nothing does not hide the others: it is reported and listed, and so
/// is what may be an outbox and cannot be read. What else is not used goes to what was not checked.
pub fn expand(
    (inputs, manifests): (&[String], Option<&ManifestArg>),
    purpose: Purpose,
    not_read: &mut Vec<NotRead>,
    not_checked: &mut Vec<String>,
    global: &GlobalArgs,
) -> Vec<PathBuf> {
    let manifests = manifests.map_or(&[][..], |manifests| &manifests.files);
    let (found, errors) = expand_each(inputs, manifests, purpose);
    let (missing, others): (Vec<_>, Vec<_>) = found.not_used.into_iter().partition(|file| file.may_be_outbox);
    let errors = errors.into_iter().map(|error| NotRead {
        path: error.input,
        why: error.what,
    });
    let before = not_read.len();
    not_read.extend(errors);
    not_read.extend(missing.into_iter().map(|file| NotRead {
        path: file.path,
        why: file.why,
    }));
    for file in not_read[before..].iter().take(MAX_TOLD) {
        not_read_error(file).report(global);
    }
    if let Some(more @ 1..) = not_read.len().checked_sub(before + MAX_TOLD) {
        CliError::input(format!("{more} more that may be outboxes and cannot be read"))
            .with_hint("the report names them: --format json has all, each with its reason")
            .report(global);
    }
    not_checked.extend(describe(&others));
    not_checked.extend(found.not_checked);
    found.files
}

/// Reports what could not be read, or not whole, and gives the exit status that it means.
pub fn report_heard(heard: &[Heard], not_read: &[NotRead], global: &GlobalArgs) -> ExitStatus {
    let mut status = ExitStatus::OK;
    for file in not_read {
        not_read_error(file).report(global);
        status |= ExitStatus::FAILED;
    }
    for file in heard {
        if let Some(damage) = &file.damage {
            CliError::input(format!("{}: {damage}", file.path))
                .with_hint("what can still be read of it is used")
                .report(global);
            status |= ExitStatus::FAILED;
        }
        if file.refused > 0 {
            status |= ExitStatus::PROBLEMS;
        }
        if file.is_export && file.rows == 0 {
            status |= report_empty_export(&file.path, global);
        }
    }
    status
}

/// What was not checked of files.
pub fn not_checked_of(heard: &[Heard], not_read: &[NotRead]) -> Vec<String> {
    let mut all = Vec::new();
    for file in heard {
        all.extend(
            file.not_checked
                .iter()
                .map(|what| format!("{}: {what}", file.path)),
        );
        if file.unsigned > 0 {
            all.push(format!(
                "{}: {} rows that nobody signed, used as pointers alone",
                file.path, file.unsigned
            ));
        }
        if file.older_log > 0 {
            let rows = file.older_log;
            all.push(format!(
                "{}: {rows} rows of the older log, whose numbers are not VES numbers",
                file.path
            ));
        }
    }
    all.extend(not_read.iter().map(|file| format!("{}: not read", file.path)));
    all
}

/// One line of NDJSON output: what it is, and the value.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    schema: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    value: T,
}

/// Writes values as NDJSON lines of one type.
pub fn write_lines<W: std::io::Write, T: Serialize>(
    out: &mut Output<W>,
    schema: &str,
    kind: &str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), CliError> {
    out.ndjson(values.into_iter().map(|value| Line { schema, kind, value }))
}

/// What was not checked, as NDJSON lines.
pub fn write_not_checked<W: std::io::Write>(
    out: &mut Output<W>,
    schema: &str,
    all: &[String],
) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct NotChecked<'a> {
        what: &'a str,
    }
    write_lines(
        out,
        schema,
        "not_checked",
        all.iter().map(|what| NotChecked { what }),
    )
}

/// What of that which was not checked may turn what a report says: it comes first.
const MATTERS: [&str; 7] = [
    "in recovery",
    "not read",
    "damage",
    "not used",
    "signatures",
    "nobody signed",
    "the log",
];

/// What was not checked, for people. Every report ends with it.
pub fn print_not_checked<W: std::io::Write>(out: &mut Output<W>, all: &[String]) -> Result<(), CliError> {
    out.line("")?;
    out.not_checked(all, &MATTERS)
}

/// So many lines of one kind are shown: each may take two or three of a screen.
const SOME: usize = 8;

/// Lines of one kind; what is more than a few is counted.
pub fn print_some<W: std::io::Write>(
    out: &mut Output<W>,
    what: &str,
    lines: impl IntoIterator<Item = String>,
) -> Result<(), CliError> {
    let lines: Vec<String> = lines.into_iter().collect();
    let shown = if out.all() {
        lines.len()
    } else {
        lines.len().min(SOME)
    };
    for line in &lines[..shown] {
        out.line(&format!("{what}: {line}"))?;
    }
    out.more(0, lines.len() - shown, what)
}

/// The next step, as a line of NDJSON.
pub fn write_next<W: std::io::Write>(out: &mut Output<W>, schema: &str, next: &Next) -> Result<(), CliError> {
    write_lines(out, schema, "next", [next])
}

/// The end of every report, for people: what was not checked, and the next step.
pub fn print_end<W: std::io::Write>(
    out: &mut Output<W>,
    not_checked: &[String],
    next: &Next,
) -> Result<(), CliError> {
    print_not_checked(out, not_checked)?;
    next.print(out)
}

/// The end of every report, as NDJSON lines.
pub fn write_end<W: std::io::Write>(
    out: &mut Output<W>,
    schema: &str,
    not_checked: &[String],
    next: &Next,
) -> Result<(), CliError> {
    write_not_checked(out, schema, not_checked)?;
    write_next(out, schema, next)
}

/// How many files could not be read, or not whole.
pub fn count_not_whole(heard: &[Heard], not_read: &[NotRead]) -> usize {
    not_read.len() + heard.iter().filter(|file| file.damage.is_some()).count()
}

/// The next step where files could not be read, or not whole: the same again, once they can.
pub fn again_with_whole_files(files: usize) -> Next {
    let why = format!(
        "{files} file(s) could not be read, or not whole (named above): get them again from where they were, then"
    );
    Next::run_for(why, &CommandLine::of_this_process())
}

/// A name for a file in this folder that no file has: `plan.ndjson`, `plan-2.ndjson`, …
pub fn free_name(stem: &str, extension: &str) -> String {
    let numbered = (2..).map(|number| format!("{stem}-{number}.{extension}"));
    std::iter::once(format!("{stem}.{extension}"))
        .chain(numbered)
        .find(|name| Path::new(name).symlink_metadata().is_err())
        .unwrap_or_default()
}

/// A number or a dash.
pub fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

/// Counts in words, each after a comma; what there is none of is not spoken of.
pub fn those_there_are(counts: &[(u64, &str)]) -> String {
    let counts = counts.iter().filter(|(count, _)| *count > 0);
    counts.map(|(count, what)| format!(", {count} {what}")).collect()
}

/// A path for people.
pub fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
