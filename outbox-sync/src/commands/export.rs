//! `outbox-sync export`: events of outboxes into a file that can be checked.

mod args;
mod report;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use cli_common::provenance::FileHash;
use cli_common::{Cancel, CliError, Existing, ExitStatus, GlobalArgs, Next, again, stderr_progress};
use event_log::Place;
use outbox_sync::export::{
    Class, ExportFormat, ExportManifest, ExportMark, ExportWriter, Filter, MadeFrom, manifest_path,
};
use outbox_sync::fast_export::{BulkOutbox, Part, ReadEnd as Read};
use outbox_sync::holdings::{Chosen, Heard, Holdings, NotRead};
use outbox_sync::inputs::Purpose;
use outbox_sync::source::{Source, looks_like_export};
use outbox_sync::verify::Verification;
use outbox_sync::{Content, HeldRow, KeyBook, Outbox, OutboxError, RenderingSearch};
use ves::EventId;

use super::errors::{file_error, holdings_error, outbox_error, source_error};
use super::log_name::LogName;
use super::provenance::{InputFiles, KEYS, looked_at};
use super::{
    again_with_whole_files, cancel_on_signals, count_not_whole, expand, not_checked_of, report_empty_log,
    report_heard, reservations, shown,
};
pub use args::ExportArgs;
use args::{Form, State};
use report::{Document, SCHEMA, next, print};

/// What to do about an export that cannot be written, if it is not the system that refuses.
const WRITE: &str = "give --out another name, on another disk";
const GROUP: usize = 1024;

/// Runs the command.
pub fn run(args: &ExportArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let mut not_read = Vec::new();
    let mut not_used = Vec::new();
    let paths = expand(
        (&args.inputs, None),
        Purpose::Read,
        &mut not_read,
        &mut not_used,
        global,
    );
    let already = not_read.len();
    if paths.is_empty() {
        return Err(
            CliError::input("there is nothing to export: none of the files could be read")
                .with_hint("the errors above say why; name outboxes, or folders that hold some"),
        );
    }
    let missing_from = (args.missing_from.as_ref())
        .map(|name| LogName::parse(&name.0, &args.schema))
        .transpose()?;
    let mut writer = begin(args, &paths)?;
    let mut work = Work {
        args,
        filter: args.filter(),
        at_once: false,
        global,
        cancel,
        left_out: 0,
        left_out_first: Vec::new(),
        two_contents: 0,
        key_flaws: Vec::new(),
        heard: Vec::new(),
        not_read,
        place: None,
        reserved: Vec::new(),
        inputs: InputFiles::default(),
        status: ExitStatus::OK,
    };
    match &missing_from {
        Some(log) => work.missing(&paths, log, &mut writer)?,
        None => work.all(&paths, &mut writer)?,
    }
    work.cancel.check()?;
    let mut inputs = std::mem::take(&mut work.inputs);
    inputs.add(KEYS, args.keys.files());
    let made_from = MadeFrom {
        missing_from: missing_from.map(|log| log.to_string()),
        place: work.place.clone(),
        provenance: Some(inputs.provenance()),
    };
    let manifest = writer.finish(made_from).map_err(|e| file_error(&e, WRITE))?;

    for (role, path) in [
        ("export", args.out.clone()),
        ("manifest", manifest_path(&args.out)),
    ] {
        global.recorder.file(role, &path);
    }
    let (document, status) = work.conclude(&paths, manifest, already, not_used);
    print(&document, global)?;
    Ok(status)
}

/// Opens the export. What is read is never written over.
fn begin(args: &ExportArgs, paths: &[PathBuf]) -> Result<ExportWriter, CliError> {
    if let Ok(real) = args.out.canonicalize()
        && paths
            .iter()
            .any(|path| path.canonicalize().is_ok_and(|path| path == real))
    {
        let what = format!("{} is one of the files that are exported", shown(&args.out));
        return Err(CliError::usage(what).with_hint("give another name"));
    }
    let form = match args.form {
        Form::Ndjson => ExportFormat::Ndjson,
        Form::Json => ExportFormat::Json,
    };
    ExportWriter::create_over(&args.out, form, Existing::replaced_if(args.force))
        .map_err(|error| file_error(&error, "give --out the name of a regular file, or of none"))
}

struct Work<'a> {
    args: &'a ExportArgs,
    filter: Filter,
    /// Whether a file was read in the faster way, in which its events alone are checked for damage.
    at_once: bool,
    global: &'a GlobalArgs,
    cancel: Cancel,
    left_out: u64,
    left_out_first: Vec<String>,
    two_contents: u64,
    key_flaws: Vec<String>,
    heard: Vec<Heard>,
    not_read: Vec<NotRead>,
    /// Where the log was looked at.
    place: Option<Place>,
    /// What it leaves open.
    reserved: Vec<String>,
    inputs: InputFiles,
    status: ExitStatus,
}

impl Work<'_> {
    fn leave_out(&mut self, what: String) {
        self.left_out += 1;
        if self.left_out_first.len() < outbox_sync::holdings::MAX_NAMED {
            self.left_out_first.push(what);
        }
    }

    /// What came of it: the report and the exit status. Files up to `already` are reported.
    fn conclude(
        self,
        paths: &[PathBuf],
        manifest: ExportManifest,
        already: usize,
        mut not_used: Vec<String>,
    ) -> (Document, ExitStatus) {
        let mut status = self.status | report_heard(&self.heard, &self.not_read[already..], self.global);
        if already > 0 {
            status |= ExitStatus::FAILED;
        }
        if self.left_out > 0 && self.args.missing_from.is_none() {
            status |= ExitStatus::PROBLEMS;
        }
        let mut not_checked = not_checked_of(&self.heard, &self.not_read);
        not_checked.append(&mut not_used);
        let nothing_asked_for =
            manifest.events == 0 && !self.args.selection().is_empty() && !self.any_asked_for(paths);
        if nothing_asked_for {
            status |= ExitStatus::PROBLEMS;
            let what = format!(
                "no event in these files is as asked for: {}",
                self.args.selection().join(", ")
            );
            CliError::input(what.clone())
                .with_hint("is the value right? The export is empty")
                .report(self.global);
            not_checked.push(what);
        }
        if self.args.missing_from.is_none() {
            not_checked
                .push("signatures and payload hashes: rows go out as they are; verify the export".into());
        }
        if self.at_once {
            let what =
                "damage where no event lies (indexes, free pages): `outbox-sync status` checks whole files";
            not_checked.push(what.into());
        }
        not_checked.extend(self.key_flaws);
        not_checked.extend(self.reserved);
        let next = match count_not_whole(&self.heard, &self.not_read) {
            0 if nothing_asked_for => Next::nothing("nothing is as asked for; see above"),
            0 if manifest.events == 0 && self.heard.iter().any(|file| file.refused > 0) => Next::nothing(
                "what the log lacks of these outboxes does not verify, and no command mends it; see above",
            ),
            0 => next(&manifest, self.args),
            not_whole => again_with_whole_files(not_whole),
        };
        let document = Document {
            schema: SCHEMA,
            provenance: manifest.made_from.provenance.clone(),
            place: self.place,
            out: shown(&self.args.out),
            manifest,
            left_out: self.left_out,
            left_out_first: self.left_out_first,
            two_contents: self.two_contents,
            heard: self.heard,
            not_read: self.not_read,
            not_checked,
            next,
        };
        (document, status)
    }

    /// Whether any event of these files is as it was asked for, whatever the log has.
    fn any_asked_for(&self, paths: &[PathBuf]) -> bool {
        let mut found = false;
        for path in paths {
            // What is wrong with a file was said when it was read.
            let Ok(source) = Source::open(path) else { continue };
            let _ = source.for_each(&mut |item| {
                found = item.is_ok_and(|item| {
                    (item.row.content.event()).is_some_and(|event| self.filter.wants_event(&item.row, event))
                });
                match found || self.cancel.is_cancelled() {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                }
            });
            if found {
                return true;
            }
        }
        false
    }

    /// Every signed row, as it is.
    fn all(&mut self, paths: &[PathBuf], writer: &mut ExportWriter) -> Result<(), CliError> {
        let mut keys = self.args.keys.book(None)?;
        for path in paths {
            let mut files = looked_at(path);
            let at_once = !self.args.row_by_row && self.all_at_once(path, &mut files, &mut keys, writer)?;
            if !at_once {
                files = looked_at(path);
                files
                    .iter_mut()
                    .for_each(|file| file.read(&|| self.cancel.is_cancelled()));
            }
            self.inputs.insert(path, files);
            if !at_once {
                self.all_of(path, &mut keys, writer)?;
            }
        }
        Ok(())
    }

    /// Reads a sound outbox by several threads; `false` if it must be read row by row, and then nothing of it was
    /// written.
    fn all_at_once(
        &mut self,
        path: &Path,
        files: &mut [FileHash],
        keys: &mut KeyBook,
        writer: &mut ExportWriter,
    ) -> Result<bool, CliError> {
        if looks_like_export(path) {
            return Ok(false);
        }
        // What is wrong with the file is said by the slower way.
        let Ok(bulk) = BulkOutbox::open(path) else {
            return Ok(false);
        };
        let begun = Begun {
            writer: writer.mark(),
            left_out: self.left_out,
            left_out_first: self.left_out_first.len(),
        };
        let progress = stderr_progress(self.global);
        progress.start(&format!("exporting {}", path.display()), bulk.about());
        let mut heard = Heard::of_outbox(path, Some(bulk.outbox()));
        let keys = peers(keys, Some(bulk.outbox()))?;
        let mut search = RenderingSearch::new(keys.registry());
        let filter = self.filter.clone();
        let mut bad = Vec::new();
        let mut failed = None;
        let format = writer.format();
        let each = &mut |part: Part<'_>| {
            let written = match part {
                Part::Lines { lines, rows } => {
                    heard.rows += rows;
                    progress.advance(rows);
                    writer.add_lines(lines).map_err(|e| file_error(&e, WRITE))
                }
                Part::Row(row) => {
                    heard.rows += 1;
                    progress.advance(1);
                    match *row {
                        Ok(mut row) => {
                            search.resolve(&mut row);
                            self.write_row(&row, || row.place.to_string(), writer, &mut heard)
                        }
                        Err(error) => {
                            bad.push(error.to_string());
                            Ok(())
                        }
                    }
                }
            };
            if let Err(error) = written {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            if self.cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let read = hashed_beside(&bulk, files, || bulk.read(format, &filter, each));
        progress.finish();
        self.cancel.check()?;
        if let Some(error) = failed {
            return Err(error);
        }
        if !matches!(read, Ok(Read::Whole)) {
            writer.rewind(begun.writer);
            self.left_out = begun.left_out;
            self.left_out_first.truncate(begun.left_out_first);
            return Ok(false);
        }
        for what in bad {
            self.leave_out(what);
        }
        self.heard.push(heard);
        self.at_once = true;
        Ok(true)
    }

    /// Reads an outbox, whatever of it can be read, or an export, row by row.
    fn all_of(&mut self, path: &Path, keys: &mut KeyBook, writer: &mut ExportWriter) -> Result<(), CliError> {
        let source = match Source::open(path) {
            Ok(source) => source,
            Err(error) => {
                self.not_read.push(not_read(path, &error.to_string()));
                return Ok(());
            }
        };
        let progress = stderr_progress(self.global);
        progress.start(&format!("exporting {}", path.display()), source.rows());
        let mut heard = Heard::of(path, &source);
        let mut bad = Vec::new();
        let mut failed = None;
        let keys = peers(keys, source.outbox())?;
        let mut search = RenderingSearch::new(keys.registry());
        let result = source.for_each_group(GROUP, &mut |what| bad.push(what), &mut |group| {
            heard.rows += group.len() as u64;
            progress.advance(group.len() as u64);
            for mut item in group {
                search.resolve(&mut item.row);
                if let Err(error) = self.write_row(&item.row, || item.place.clone(), writer, &mut heard) {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            }
            if self.cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        progress.finish();
        self.cancel.check()?;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Err(error) = result {
            heard.damage = Some(error.to_string());
        }
        heard.rows += bad.len() as u64;
        for what in bad {
            self.leave_out(what);
        }
        self.heard.push(heard);
        Ok(())
    }

    /// Writes the event of a row, if it has one that is asked for; `place` says where it was read.
    fn write_row(
        &mut self,
        row: &HeldRow,
        place: impl Fn() -> String,
        writer: &mut ExportWriter,
        heard: &mut Heard,
    ) -> Result<(), CliError> {
        let event = match &row.content {
            Content::Signed(event) => event,
            Content::Unsigned { .. } => {
                heard.unsigned += 1;
                return Ok(());
            }
            Content::Rerendered(_) => {
                let why = "what was signed was not found again (are the agent's keys known? --keys)";
                self.leave_out(format!("{}: {why}", place()));
                return Ok(());
            }
            Content::Malformed { why } => {
                self.leave_out(format!("{}: {why}", place()));
                return Ok(());
            }
        };
        if !self.filter.wants_event(row, event) {
            return Ok(());
        }
        let written = writer
            .add(row, event, None, None)
            .map_err(|e| file_error(&e, WRITE))?;
        if let Err(what) = written {
            self.leave_out(format!("{}: {what}", place()));
        }
        Ok(())
    }

    /// What a log lacks: first who holds what, then the best copies.
    fn missing(
        &mut self,
        paths: &[PathBuf],
        log: &LogName,
        writer: &mut ExportWriter,
    ) -> Result<(), CliError> {
        self.inputs = InputFiles::of_outboxes(paths, self.global, &self.cancel)?;
        self.inputs.add_log(log.target());
        let progress = stderr_progress(self.global);
        let (holdings, mut keys, place, reserved, status) = again(&self.cancel, || {
            let mut log = log.open(&self.cancel)?;
            let mut reserved = Vec::new();
            let status = report_empty_log(Some(&mut log), &mut reserved, self.global)?;
            let keys = self.args.keys.book(Some(&mut log))?;
            let holdings = Holdings::collect(paths, &mut log, keys, &*progress, &self.cancel);
            let holdings = holdings.map_err(holdings_error)?;
            let keys = self.args.keys.book(Some(&mut log))?;
            reserved.extend(reservations(Some(&log)));
            Ok((holdings, keys, log.place().cloned(), reserved, status))
        })?;
        self.status |= status;
        self.place = place;
        self.reserved = reserved;
        self.key_flaws = holdings.key_flaws.clone();
        self.two_contents = holdings.events.values().filter(|e| e.two_contents).count() as u64;
        self.not_read.extend(holdings.not_read.iter().cloned());
        self.heard = holdings.heard.clone();
        let mut written = HashSet::new();
        progress.start("writing", Some(holdings.heard.len() as u64));
        let chosen = holdings.chosen();
        for file in 0..holdings.heard.len() {
            if let Some(chosen) = chosen.get(&file) {
                self.write_chosen(&holdings, (file, chosen), &mut keys, &mut written, writer)?;
            }
            progress.advance(1);
        }
        progress.finish();
        Ok(())
    }

    /// Writes the events of which a file holds the best copy.
    fn write_chosen(
        &mut self,
        holdings: &Holdings,
        (file, chosen): (usize, &Chosen),
        keys: &mut KeyBook,
        written: &mut HashSet<EventId>,
        writer: &mut ExportWriter,
    ) -> Result<(), CliError> {
        let path = holdings.heard[file].path.as_ref();
        let source = Source::open(path).map_err(|e| source_error(&e))?;
        let keys = peers(keys, source.outbox())?;
        let mut search = RenderingSearch::new(keys.registry());
        let wants_rejected = self.args.state.contains(&State::Rejected);
        let mut failed = None;
        let result = source.for_each(&mut |item| {
            let Ok(mut item) = item else {
                return ControlFlow::Continue(());
            };
            let place = (item.row.place.table, item.row.place.row);
            let Some(id) = chosen.get(&place).filter(|id| **id == item.row.event_id) else {
                return ControlFlow::Continue(());
            };
            search.resolve(&mut item.row);
            let (Some(best), Some(event), Some(class)) = (
                holdings.events.get(id).and_then(|e| e.best),
                item.row.content.event(),
                holdings.class(id),
            ) else {
                return ControlFlow::Continue(());
            };
            // The file may have changed since it was judged.
            let same = best.signing_hash == event.signing_hash();
            let wanted =
                self.filter.wants_event(&item.row, event) && (class != Class::Rejected || wants_rejected);
            if !same || !wanted || !written.insert(*id) {
                return ControlFlow::Continue(());
            }
            let verdict = (best.verdict != Verification::Unsigned).then_some(best.verdict);
            match writer.add(&item.row, event, Some(class), verdict) {
                Ok(Ok(())) => {}
                Ok(Err(what)) => self.leave_out(format!("{}: {what}", item.place)),
                Err(error) => failed = Some(file_error(&error, WRITE)),
            }
            match failed.is_some() || self.cancel.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        self.cancel.check()?;
        match failed {
            Some(error) => Err(error),
            None => result.map_err(|e| source_error(&e)),
        }
    }
}

/// Reads an outbox, and hashes its file at the same time: by the handle that holds it, or, of a private copy, by its name.
fn hashed_beside(
    bulk: &BulkOutbox,
    files: &mut [FileHash],
    read: impl FnOnce() -> Result<Read, OutboxError>,
) -> Result<Read, OutboxError> {
    let given_up = AtomicBool::new(false);
    let held = bulk.held_file();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let stop = || given_up.load(Ordering::Relaxed);
            for file in files {
                match held {
                    Some(held) => file.read_beside(held, &stop),
                    None => file.read(&stop),
                }
            }
        });
        let read = read();
        given_up.store(!matches!(read, Ok(Read::Whole)), Ordering::Relaxed);
        read
    })
}

/// Where an export of one file began, to go back to.
struct Begun {
    writer: ExportMark,
    left_out: u64,
    left_out_first: usize,
}

/// The keys with those that this outbox fetched.
fn peers<'k>(keys: &'k mut KeyBook, outbox: Option<&Outbox>) -> Result<&'k KeyBook, CliError> {
    if let Some(outbox) = outbox {
        keys.add_peers(outbox).map_err(|e| outbox_error(&e))?;
    }
    Ok(keys)
}

fn not_read(path: &Path, why: &str) -> NotRead {
    let prefix = format!("{}: ", path.display());
    NotRead {
        path: shown(path),
        why: why.strip_prefix(&prefix).unwrap_or(why).to_owned(),
    }
}

#[cfg(test)]
mod tests;
