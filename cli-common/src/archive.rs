//! Archives of events (`docs/archive.md`), as something that a tool reads: by the program `event-archive`, which writes what an
//! archive holds as a snapshot.
//!
//! Parquet files and object stores take more code than all the tools together. So the tools link nothing of it: they run the
//! program that knows archives, and read what it leaves as any other snapshot.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde::Deserialize;

use crate::program::{Bounds, NotRun, Ran, run};
use crate::{Cancel, Cancelled, ExitStatus, PrivateDir, redact_text, redact_url};

/// The program that knows archives.
const PROGRAM: &str = "event-archive";
/// The variable that says where it is.
const VARIABLE: &str = "EVENT_ARCHIVE";
/// What an archive's address may begin with, if it is no folder.
const SCHEMES: [&str; 4] = ["s3://", "gs://", "az://", "file://"];
/// Its folder of manifests.
const MANIFESTS: &str = "manifest";
/// A manifest is `NNNNNNNNNN.json`.
const DIGITS: usize = 10;
/// So many entries of that folder are looked at.
const ENTRIES: usize = 1000;

/// The program's report is no longer, in bytes.
const LARGEST_REPORT: u64 = 16 << 20;
/// An archive that takes longer to copy is given up.
const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// So many of the things that it could not copy are told, and so much of each.
const TOLD: usize = 1000;
const TOLD_CHARS: usize = 400;

/// Where an archive of events is.
#[derive(Clone, PartialEq, Eq)]
pub struct ArchiveAddress {
    /// As it was given; it may hold what is not to be shown.
    given: OsString,
    shown: String,
}

impl ArchiveAddress {
    /// The address of an archive, if this is one: a URL that begins with `s3://`, `gs://`, `az://` or `file://`, or a folder that
    /// holds `manifest/NNNNNNNNNN.json`. Whether an archive is at a URL is not asked here.
    #[must_use]
    pub fn recognise(name: &OsStr) -> Option<Self> {
        let is_url = name.to_str().is_some_and(is_url);
        (is_url || holds_manifests(Path::new(name))).then(|| {
            let shown = redact_url(&name.to_string_lossy());
            let without_end = shown.trim_end_matches('/');
            Self {
                given: name.to_owned(),
                shown: match without_end.is_empty() || without_end.ends_with(':') {
                    true => shown,
                    false => without_end.to_owned(),
                },
            }
        })
    }

    /// The address, without secrets.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }
}

impl fmt::Display for ArchiveAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for ArchiveAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

fn is_url(name: &str) -> bool {
    let begins = |scheme: &&str| {
        name.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    };
    SCHEMES.iter().any(begins)
}

fn holds_manifests(folder: &Path) -> bool {
    let is_manifest = |name: &OsStr| {
        let number = name.to_str().and_then(|name| name.strip_suffix(".json"));
        number.is_some_and(|number| number.len() == DIGITS && number.bytes().all(|b| b.is_ascii_digit()))
    };
    let entries = fs::read_dir(folder.join(MANIFESTS));
    entries.is_ok_and(|mut entries| {
        let mut entries = entries.by_ref().take(ENTRIES).flatten();
        entries.any(|entry| is_manifest(&entry.file_name()))
    })
}

/// Reads archives by the program `event-archive`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchiveReader {
    program: PathBuf,
    /// So long it may take for one archive.
    pub longest: Duration,
}

impl Default for ArchiveReader {
    fn default() -> Self {
        Self::by(PROGRAM)
    }
}

impl ArchiveReader {
    /// Reads by this program. A name without a folder is looked for in `PATH`.
    pub fn by(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            longest: PATIENCE,
        }
    }

    /// Reads by the program that `EVENT_ARCHIVE` names, else by the one beside this program, else by the one in `PATH`.
    #[must_use]
    pub fn of_environment() -> Self {
        if let Some(named) = std::env::var_os(VARIABLE).filter(|named| !named.is_empty()) {
            return Self::by(named);
        }
        let name = format!("{PROGRAM}{}", std::env::consts::EXE_SUFFIX);
        let beside = std::env::current_exe().map(|of_this| of_this.with_file_name(&name));
        match beside {
            Ok(beside) if beside.is_file() => Self::by(beside),
            _ => Self::by(name),
        }
    }

    /// Copies an archive into a snapshot in a private folder: all of it, or these streams (`TENANT/STORE`). It is held against
    /// its own hashes on the way.
    ///
    /// # Errors
    /// [`ArchiveError`]; that a part of the archive is damaged is none, and stands in [`ArchiveCopy::damage`].
    pub fn copy(
        &self,
        address: &ArchiveAddress,
        streams: &[String],
        cancel: &Cancel,
    ) -> Result<ArchiveCopy, ArchiveError> {
        let folder = PrivateDir::new().map_err(ArchiveError::NoRoom)?;
        let snapshot = folder.path().join("archive.db");
        let bounds = Bounds {
            bytes: LARGEST_REPORT,
            time: Some(self.longest),
        };
        let ran = run(self.command(address, streams, &snapshot), bounds, cancel)?;
        let status = ran.status.code().and_then(|code| u8::try_from(code).ok());
        let whole = ExitStatus::OK.code();
        let in_part = ExitStatus::PROBLEMS.code();
        let Some(status) = status.filter(|status| [whole, in_part].contains(status)) else {
            return Err(ArchiveError::Failed(redact_text(&ran.complaint())));
        };
        let report = Report::read(&ran)?;
        if !snapshot.is_file() {
            return Err(ArchiveError::NoReport("left no snapshot".to_owned()));
        }
        Ok(ArchiveCopy {
            snapshot,
            manifest: report.manifest_named(),
            damage: (status == in_part).then(|| damage(&report.left_out)),
            not_checked: bounded(report.not_checked),
            _folder: folder,
        })
    }

    fn command(&self, address: &ArchiveAddress, streams: &[String], snapshot: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["snapshot", "--quiet", "--color=never", "--format=json"]);
        command.arg("--out").arg(snapshot);
        for stream in streams {
            command.args(["--stream", stream]);
        }
        // It is a part of this command, and not one that an incident's folder keeps beside it.
        command
            .arg("--")
            .arg(&address.given)
            .env_remove("SEQUENCER_INCIDENT");
        command
    }
}

/// An archive's copy; it goes with the value.
#[derive(Debug)]
pub struct ArchiveCopy {
    snapshot: PathBuf,
    /// The manifest that it is of: its number, and its SHA-256 if the program says it.
    pub manifest: String,
    /// What of the archive was not copied or not checked.
    pub not_checked: Vec<String>,
    /// Why the copy has not all that the archive should hold; `None` if it has.
    pub damage: Option<String>,
    _folder: PrivateDir,
}

impl ArchiveCopy {
    /// The snapshot.
    #[must_use]
    pub fn snapshot(&self) -> &Path {
        &self.snapshot
    }
}

/// Why an archive was not copied.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The user stopped it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// There is no place for a copy.
    #[error("no room for its copy in {}: {_0}", std::env::temp_dir().display())]
    NoRoom(io::Error),
    /// The program is not there, or may not be run.
    #[error("the program event-archive, which reads archives, is not there: {_0}")]
    NoProgram(NotRun),
    /// It took too long.
    #[error("it was given up: {_0}")]
    TooLong(NotRun),
    /// The program says that it cannot be read.
    #[error("event-archive could not copy it: {_0}")]
    Failed(String),
    /// What the program left is not what it should be.
    #[error("event-archive {_0}")]
    NoReport(String),
}

impl ArchiveError {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Cancelled(_) => "run it again",
            Self::NoRoom(_) => "TMPDIR names another folder",
            Self::NoProgram(_) => {
                "build it in the folder archive/ of the sources (docs/archive.md) and put it beside this program or in PATH, or \
                 name it in EVENT_ARCHIVE"
            }
            Self::TooLong(_) => {
                "is its store reachable? `event-archive snapshot` copies it without a limit of time"
            }
            Self::Failed(_) => {
                "are its address and the credentials in the environment right? `event-archive status` says more"
            }
            Self::NoReport(_) => "is it the event-archive of another version than this program?",
        }
    }
}

impl From<NotRun> for ArchiveError {
    fn from(error: NotRun) -> Self {
        match error {
            NotRun::Cancelled(cancelled) => Self::Cancelled(cancelled),
            NotRun::TimedOut { .. } => Self::TooLong(error),
            NotRun::Start { .. } => Self::NoProgram(error),
        }
    }
}

/// What is read of the program's report (`event-archive-snapshot/1`); it says more.
#[derive(Debug, Deserialize)]
struct Report {
    manifest: u64,
    manifest_sha256: Option<String>,
    /// What the snapshot lacks.
    left_out: Vec<String>,
    /// That, and what was not checked.
    not_checked: Vec<String>,
}

impl Report {
    fn manifest_named(&self) -> String {
        let sha256: String = self
            .manifest_sha256
            .iter()
            .flat_map(|hex| hex.chars())
            .take(66)
            .collect();
        match sha256.is_empty() {
            true => format!("manifest {}", self.manifest),
            false => format!("manifest {}, SHA-256 {sha256}", self.manifest),
        }
    }

    fn read(ran: &Ran) -> Result<Self, ArchiveError> {
        serde_json::from_slice(&ran.stdout)
            .map_err(|error| ArchiveError::NoReport(format!("gave a report that cannot be read ({error})")))
    }
}

/// As much of it as is told.
fn bounded(told: Vec<String>) -> Vec<String> {
    let more = told.len().saturating_sub(TOLD);
    let cut = |what: String| what.chars().take(TOLD_CHARS).collect::<String>();
    let mut told: Vec<String> = told.into_iter().take(TOLD).map(cut).collect();
    if more > 0 {
        told.push(format!("{more} more that are not named here"));
    }
    told
}

/// What is damaged, in a sentence.
fn damage(left_out: &[String]) -> String {
    let more = match left_out.len() {
        0 | 1 => String::new(),
        more => format!(" (and {} more)", more - 1),
    };
    let first = left_out.first().map_or("it does not say what", String::as_str);
    let first: String = first.chars().take(TOLD_CHARS).collect();
    format!("a part of the archive is damaged or lacking, and left out: {first}{more}")
}

#[cfg(test)]
mod tests;
