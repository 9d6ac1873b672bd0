//! What a dump by `pg_dump` has, in any of its formats.
//!
//! A dump is read once, from beginning to end, into a private snapshot in the temporary folder, and that is heard as any
//! other copy of the log. The archive formats (custom, directory, tar) are read by PostgreSQL's own `pg_restore`.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cli_common::files::InputFile;
use cli_common::{Cancel, PrivateDir};
use event_log::{DumpError, DumpInfo, View};

use crate::error::RecoveryError;
use crate::finding::{Code, Finding};

use super::logs::hear_copy;
use super::unpack::Packing;
use super::{Asked, Collected, Heard, HeardKind};

/// How a dump is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Packed(Packing),
    /// Only `pg_restore` reads these.
    Custom,
    Directory,
    Tar,
}

/// A dump that was recognised.
#[derive(Debug, Clone)]
pub struct Dump {
    shown: PathBuf,
    /// Of a folder there is none.
    file: Option<InputFile>,
    form: Form,
}

/// What an archive by `pg_dump` begins with.
const ARCHIVE: &[u8] = b"PGDMP";
/// The table of contents of the formats that are folders, or archives of one.
const CONTENTS: &str = "toc.dat";
/// Tables that are asked of `pg_restore`.
const TABLES: [&str; 12] = [
    "ves_events",
    "ves_sequencer_receipts",
    "ves_sequence_counters",
    "sequence_counters",
    "ves_command_dedupe",
    "entity_versions",
    "ves_commitments",
    "ves_validity_proofs",
    "ves_compliance_proofs",
    "agent_signing_keys",
    "projection_checkpoints",
    "events",
];
/// So much of what `pg_restore` complains about is told.
const COMPLAINT: usize = 400;

impl Dump {
    /// A folder that `pg_dump --format=directory` made.
    pub fn in_folder(path: &Path) -> Option<Self> {
        let contents = path.join(CONTENTS);
        path.is_dir().then_some(())?;
        starts_with(&contents, ARCHIVE).then(|| Self {
            shown: path.to_owned(),
            file: None,
            form: Form::Directory,
        })
    }

    /// A file that begins as a dump does; `None` if it is something else.
    ///
    /// # Errors
    /// It cannot be read, or is packed in a way that is not read here.
    pub fn recognise(file: &InputFile) -> io::Result<Option<Self>> {
        let mut start = Vec::new();
        File::open(file.path())?.take(1 << 12).read_to_end(&mut start)?;
        let form = if start.starts_with(ARCHIVE) {
            Form::Custom
        } else if event_log::looks_like_dump(&start) {
            Form::Plain
        } else if start.starts_with(CONTENTS.as_bytes()) && start.get(257..262) == Some(b"ustar") {
            Form::Tar
        } else if let Some(packing) = Packing::of(&start) {
            let mut inner = Vec::new();
            // What cannot be unpacked is told when it is read.
            let _ = packing.open(file.path())?.take(1 << 10).read_to_end(&mut inner);
            let command = packing.command();
            if inner.starts_with(ARCHIVE) {
                return Err(refused(&format!(
                    "is a packed archive of pg_dump: unpack it ({command}), it is packed inside already"
                )));
            }
            if !event_log::looks_like_dump(&inner) {
                return Err(refused(&format!(
                    "is packed by {packing}, and no dump in plain text is in it: unpack it ({command})"
                )));
            }
            Form::Packed(packing)
        } else if start.starts_with(b"\xfd7zXZ") {
            return Err(refused("is packed by xz: unpack it (xz -dk)"));
        } else if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
            return Err(refused(
                "is text in UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
            ));
        } else {
            return Ok(None);
        };
        Ok(Some(Self {
            shown: file.shown().to_owned(),
            file: Some(file.clone()),
            form,
        }))
    }

    /// Its name as it was given.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Where it is read.
    pub(crate) fn path(&self) -> &Path {
        self.file.as_ref().map_or(&self.shown, InputFile::path)
    }

    fn format(&self) -> &'static str {
        match self.form {
            Form::Plain | Form::Packed(_) => "plain text",
            Form::Custom => "custom format",
            Form::Directory => "directory format",
            Form::Tar => "tar format",
        }
    }

    /// Whether only PostgreSQL's own `pg_restore` reads it.
    pub(crate) fn is_archive(&self) -> bool {
        matches!(self.form, Form::Custom | Form::Directory | Form::Tar)
    }

    /// Reads it into a snapshot. Also gives what went wrong behind the end of what could be read.
    pub(crate) fn load(
        &self,
        snapshot: &Path,
        cancel: &Cancel,
    ) -> Result<(DumpInfo, Option<String>), DumpError> {
        let input: Box<dyn BufRead> = match self.form {
            Form::Plain => Box::new(BufReader::with_capacity(1 << 18, File::open(self.path())?)),
            Form::Packed(packing) => {
                let unpacked = EndAtError::new(packing.open(self.path())?);
                let failed = unpacked.failed.clone();
                let mut input = BufReader::with_capacity(1 << 18, unpacked);
                let info = event_log::read_dump(&mut input, snapshot, cancel)?;
                return Ok((info, failed.take()));
            }
            Form::Custom | Form::Directory | Form::Tar => return self.restore(snapshot, cancel),
        };
        Ok((event_log::read_dump(input, snapshot, cancel)?, None))
    }

    /// Reads an archive by way of `pg_restore`.
    fn restore(&self, snapshot: &Path, cancel: &Cancel) -> Result<(DumpInfo, Option<String>), DumpError> {
        let mut complaints = tempfile::tempfile()?;
        let mut command = Command::new("pg_restore");
        command.args(["--file=-", "--data-only", "--no-owner", "--no-privileges"]);
        for table in TABLES {
            command.arg(format!("--table={table}"));
        }
        command
            .arg("--")
            .arg(self.path())
            // What it complains of is understood in English.
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone()?);
        let mut child = Running(command.spawn().map_err(no_pg_restore)?);
        let Some(text) = child.0.stdout.take() else {
            return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
        };
        let read = event_log::read_dump(BufReader::with_capacity(1 << 18, text), snapshot, cancel);
        // Its pipe is closed: it ends, if it has not yet.
        let status = child.0.wait()?;
        let mut said = String::new();
        complaints.seek(SeekFrom::Start(0))?;
        complaints.take(64 << 10).read_to_string(&mut said).ok();
        let complaint = (!status.success()).then(|| {
            let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ");
            let said: String = said.chars().take(COMPLAINT).collect();
            format!("pg_restore ended with {status}: {said}{}", way_out(&said))
        });
        let mut info = match (read, complaint.clone()) {
            (Err(DumpError::Refused(what)), Some(complaint)) => {
                return Err(DumpError::Refused(format!("{what}; {complaint}")));
            }
            (read, _) => read?,
        };
        self.contents(&mut info);
        Ok((info, complaint))
    }

    /// What the archive's table of contents says of it.
    fn contents(&self, info: &mut DumpInfo) {
        let listed = Command::new("pg_restore")
            .args(["--list", "--"])
            .arg(self.path())
            .stdin(Stdio::null())
            .output();
        let Ok(listed) = listed else { return };
        for line in String::from_utf8_lossy(&listed.stdout).lines().take(40) {
            let line = line.trim_start_matches([';', ' ']);
            let after = |start: &str| {
                line.strip_prefix(start)
                    .map(|rest| rest.trim().chars().take(80).collect::<String>())
            };
            if let Some(time) = after("Archive created at ") {
                info.started = Some(time);
            } else if let Some(version) = after("Dumped from database version: ") {
                info.server_version = Some(version);
            } else if let Some(version) = after("Dumped by pg_dump version: ") {
                info.tool_version = Some(version);
            }
        }
    }
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// What to do where `pg_restore` is not up to an archive.
fn way_out(complaint: &str) -> &'static str {
    let newer = "; the archive is of a newer pg_dump than this pg_restore: put the programs of that release first in PATH";
    // "unsupported version (1.16) in file header"; "… built without support for compression with …", "compression is
    // not supported by this installation".
    if complaint.contains("unsupported version") {
        newer
    } else if complaint.contains("compression") {
        "; this pg_restore cannot unpack it: put one in front in PATH that was built for it, or make the dump with \
         --compress=gzip"
    } else {
        ""
    }
}

fn no_pg_restore(error: io::Error) -> DumpError {
    if error.kind() == io::ErrorKind::NotFound {
        return DumpError::Refused(
            "is an archive, which pg_restore reads, and that is not in PATH: install PostgreSQL's client programs \
             (postgresql-client), or make a dump in plain text"
                .into(),
        );
    }
    error.into()
}

fn starts_with(path: &Path, start: &[u8]) -> bool {
    let mut bytes = vec![0; start.len()];
    let is_file = path.metadata().is_ok_and(|meta| meta.is_file());
    is_file
        && File::open(path)
            .and_then(|mut file| file.read_exact(&mut bytes))
            .is_ok()
        && bytes == start
}

/// A program that does not outlive what it was started for.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Ends where its input fails, and keeps the reason: what was unpacked before that is good.
struct EndAtError<R> {
    input: R,
    failed: Failed,
}

#[derive(Clone, Default)]
struct Failed(std::rc::Rc<std::cell::RefCell<Option<String>>>);

impl Failed {
    fn take(&self) -> Option<String> {
        self.0.borrow_mut().take()
    }
}

impl<R> EndAtError<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            failed: Failed::default(),
        }
    }
}

impl<R: io::Read> io::Read for EndAtError<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.input.read(buffer) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                *self.failed.0.borrow_mut() = Some(format!("cannot be unpacked to its end: {error}"));
                Ok(0)
            }
            read => read,
        }
    }
}

/// Hears a dump.
pub(super) async fn read_dump(
    view: &mut View,
    asked: Asked<'_>,
    dump: &Dump,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let name = dump.shown.display().to_string();
    let mut heard = Heard::new(&dump.shown, HeardKind::Dump);
    heard.made = Some(format!("pg_dump, {}", dump.format()));
    let folder = match PrivateDir::new() {
        Ok(folder) => folder,
        Err(error) => {
            let room = std::env::temp_dir();
            collected.unreadable(
                heard,
                format!("{name}: no room for its copy in {}: {error}", room.display()),
            );
            return Ok(());
        }
    };
    let snapshot = folder.path().join("dump.db");
    let loaded = {
        let (dump, snapshot, cancel) = (dump.clone(), snapshot.clone(), asked.cancel.clone());
        tokio::task::spawn_blocking(move || dump.load(&snapshot, &cancel)).await
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let (info, failed) = match loaded {
        Ok(loaded) => loaded,
        Err(DumpError::Cancelled) => return Err(cli_common::Cancelled.into()),
        Err(DumpError::Log(error)) => {
            let place = folder.path().display();
            let message =
                format!("{name}: could not be copied to {place} (TMPDIR names another folder): {error}");
            collected.unreadable(heard, message);
            return Ok(());
        }
        Err(error) => {
            collected.unreadable(heard, format!("{name}: {error}"));
            return Ok(());
        }
    };
    heard.made = Some(describe(dump, &info));
    for what in &info.not_checked {
        collected.not_checked.push(format!("{name}: {what}"));
    }
    note_end(dump, &info, failed, &mut heard, collected);
    for (index, what) in info.unreadable.iter().enumerate() {
        heard.rows += 1;
        heard.refuse(None, format!("{name}, bad row {}", index + 1), what.clone(), None);
    }
    let untold = info.unreadable_count - info.unreadable.len() as u64;
    heard.rows += untold;
    heard.refused += untold;
    hear_copy(view, asked, &snapshot, heard, collected).await
}

/// Says if a dump is not whole. What it holds is used all the same.
fn note_end(
    dump: &Dump,
    info: &DumpInfo,
    failed: Option<String>,
    heard: &mut Heard,
    collected: &mut Collected,
) {
    let what = match failed {
        Some(what) => what,
        None if info.complete => return,
        None => "its end is missing (\"PostgreSQL database dump complete\"): it was cut off".to_owned(),
    };
    let name = dump.shown.display();
    let message = format!("{name}: {what}; what was read before that is used");
    collected
        .findings
        .push(Finding::new(Code::WitnessUnreadable, message));
    collected
        .not_checked
        .push(format!("{name}: what is missing of it"));
    heard.error = Some(what);
}

/// Format, version and date, as far as the dump tells.
fn describe(dump: &Dump, info: &DumpInfo) -> String {
    let version = match &info.server_version {
        Some(version) => format!("of PostgreSQL {version}"),
        None => "of a server that it does not name".to_owned(),
    };
    let started = match &info.started {
        Some(started) => format!("begun {started}"),
        None => "without a date".to_owned(),
    };
    format!("pg_dump, {}, {version}, {started}", dump.format())
}
