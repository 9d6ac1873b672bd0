//! One file a command: parse, call the library, print. What several of them need is here.

pub mod attest;
pub mod bundle;
pub mod check;
pub mod fetch;
pub mod import;
pub mod lint;
pub mod merge;
pub mod prove;
pub mod verify;

use std::path::{Path, PathBuf};

use anchor_verify::verify::{DbSource, VerifyError};
use anchor_verify::{AnchorsFile, ChainReport};
use cli_common::{Cancel, CliError, DbTarget, Output};
use event_log::{LogError, OpenOptions, Place, Scope};
use serde::Serialize;
use ves::Hash32;

/// What an error of the library means for the user.
fn cli_error(error: VerifyError) -> CliError {
    let message = error.to_string();
    match error {
        VerifyError::Log(error @ LogError::Refused { .. }) => {
            CliError::input(error.to_string()).with_hint("is the stream's name right (tenant/store)?")
        }
        VerifyError::Log(error) => error.into(),
        VerifyError::Io { name, source } => CliError::io(name).with_source(source),
        VerifyError::Export { .. } => CliError::input(message)
            .with_hint("nothing was verified; docs/log-export.md describes the form. Is there a sound copy?"),
        VerifyError::Bundle { .. } => CliError::input(message).with_hint(
            "nothing was verified; give a file that `anchor-verify bundle` wrote. Is there a sound copy?",
        ),
        VerifyError::Merge(_) => CliError::input(message)
            .with_hint("give the JSON reports of all shards of one verification, each once"),
        VerifyError::Cancelled(cancelled) => cancelled.into(),
        _ => CliError::input(message),
    }
}

/// A token that Ctrl-C and SIGTERM set.
fn cancel_on_signals() -> Result<Cancel, CliError> {
    Cancel::on_signals().map_err(|e| CliError::io("signals cannot be watched").with_source(e))
}

/// Opens a log.
fn open_db(target: &DbTarget, scope: &Scope, cancel: &Cancel) -> Result<DbSource, CliError> {
    let options = OpenOptions::stopped_by(cancel);
    DbSource::open_with(target, scope.clone(), &options).map_err(cli_error)
}

/// Where a log is, for people: the first line of every table.
fn print_place<W: std::io::Write>(out: &mut Output<W>, place: Option<&Place>) -> Result<(), CliError> {
    match place {
        Some(place) => out.line(&format!("Log: {place}")),
        None => Ok(()),
    }
}

/// Reads anchors files as one; `None` if none are named.
fn read_anchors(paths: &[PathBuf]) -> Result<Option<AnchorsFile>, CliError> {
    let hint = "make the file with `anchor-verify import` of this release";
    let mut files = Vec::new();
    for path in paths {
        let file = AnchorsFile::read(path).map_err(|e| CliError::input(e.to_string()).with_hint(hint))?;
        files.push((path.clone(), file));
    }
    if files.is_empty() {
        return Ok(None);
    }
    merge_anchors(files).map(Some)
}

fn merge_anchors(files: Vec<(PathBuf, AnchorsFile)>) -> Result<AnchorsFile, CliError> {
    AnchorsFile::merge(files).map_err(|e| CliError::input(e.to_string()))
}

/// How sure each anchor is.
fn chain(file: &AnchorsFile, trusted_block: Option<Hash32>) -> ChainReport {
    anchor_verify::chain::examine(file, trusted_block)
}

/// The largest report that is read: some millions of batches.
const MAX_REPORT: u64 = 4 << 30;

/// Reads a report, or anything else that is JSON.
fn read_text(path: &Path) -> Result<String, CliError> {
    cli_common::files::read_text(path, MAX_REPORT)
        .map_err(|e| CliError::input(format!("{}: {e}", path.display())))
}

/// Writes text in place of what is at `path`.
fn write_text(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text)
        .map_err(|e| CliError::io(format!("{} was not written", path.display())).with_source(e))
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
fn write_lines<W: std::io::Write, T: Serialize>(
    out: &mut Output<W>,
    schema: &str,
    kind: &str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), CliError> {
    out.ndjson(values.into_iter().map(|value| Line { schema, kind, value }))
}

/// What was not checked, for people. Every report ends with it.
fn print_not_checked<W: std::io::Write>(out: &mut Output<W>, all: &[String]) -> Result<(), CliError> {
    if all.is_empty() {
        return out.line("NOT CHECKED: nothing was left out");
    }
    out.line("NOT CHECKED")?;
    for what in all {
        out.line(&format!("  {what}"))?;
    }
    Ok(())
}
