//! How a command leaves its evidence in the folder of an incident.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::timeline::Evidence;
use crate::provenance::{FileHash, Input};

/// The folder of evidence, in the incident's.
pub(super) const FOLDER: &str = "evidence";

/// Larger files are named with their hash and stay where they are.
const LARGEST_KEPT: u64 = 256 << 20;

/// Where a command notes what came of it. Without an incident, and without anybody to be notified, nowhere.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<RecorderState>>);

#[derive(Default)]
pub(crate) struct RecorderState {
    /// For the incident, if the command runs for one.
    pub(super) recording: Option<Recording>,
    /// The last report, if somebody is to be notified.
    pub(crate) report: Option<File>,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Recorder").field(&self.is_on()).finish()
    }
}

/// A command that runs for an incident.
pub(crate) struct Recording {
    /// Where its files go.
    pub(super) folder: PathBuf,
    /// The entry of its beginning.
    pub(super) began: u64,
    /// Its name.
    pub(super) command: String,
    pub(super) evidence: Vec<Evidence>,
    /// The first file that could not be kept, and why.
    pub(super) unkept: Option<(PathBuf, io::Error)>,
}

impl Recorder {
    pub(crate) fn lock(&self) -> MutexGuard<'_, RecorderState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the command runs for an incident.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.lock().recording.is_some()
    }

    /// Keeps a report. What goes wrong is told at the end of the command, after its report.
    pub fn report(&self, document: &impl Serialize) {
        let write = |file: &mut BufWriter<File>| -> io::Result<()> {
            serde_json::to_writer_pretty(&mut *file, document)?;
            file.write_all(b"\n")
        };
        self.keep("report", "json", write);
        let mut kept = self.lock();
        if let Some(file) = kept.report.take() {
            let mut file = BufWriter::new(file);
            // A report that cannot be handed on whole is handed on as far as it goes; the hook is told the status anyway.
            let _ = write(&mut file);
            kept.report = file.into_inner().ok();
        }
    }

    /// Keeps files that the command made, as far as it was asked for them and they are there.
    pub fn files<P: AsRef<Path>>(&self, role: &str, paths: impl IntoIterator<Item = P>) {
        for path in paths {
            if path.as_ref().exists() {
                self.file(role, path.as_ref());
            }
        }
    }

    /// Keeps a file that the command made: a copy, or its hash alone where it is large.
    pub fn file(&self, role: &str, path: &Path) {
        let mut recording = self.lock();
        if let Some(recording) = recording.recording.as_mut() {
            let kept = recording.take_file(role, path);
            recording.note(kept, path);
        }
    }

    fn keep(&self, role: &str, ending: &str, write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>) {
        let mut recording = self.lock();
        if let Some(recording) = recording.recording.as_mut() {
            let (name, path) = recording.new_name(role, ending);
            let kept = (|| {
                let mut file = BufWriter::new(File::create_new(&path)?);
                write(&mut file)?;
                file.into_inner()
                    .map_err(io::IntoInnerError::into_error)?
                    .sync_all()?;
                evidence_of(role, name, &path, true)
            })();
            recording.note(kept, &path);
        }
    }
}

impl Recording {
    /// `evidence/0007-audit-report.json`; the second of a kind is `0007-audit-report-2.json`.
    fn new_name(&self, role: &str, ending: &str) -> (String, PathBuf) {
        let (began, command) = (self.began, self.command.replace(' ', "-"));
        let before = self
            .evidence
            .iter()
            .filter(|evidence| evidence.role == role)
            .count();
        let number = match before {
            0 => String::new(),
            more => format!("-{}", more + 1),
        };
        let file = format!("{began:04}-{command}-{role}{number}.{ending}");
        let path = self.folder.join(&file);
        (format!("{FOLDER}/{file}"), path)
    }

    fn take_file(&self, role: &str, path: &Path) -> io::Result<Evidence> {
        if path.metadata()?.len() > LARGEST_KEPT {
            let place = path.canonicalize()?.display().to_string();
            return evidence_of(role, place, path, false);
        }
        let ending = path.extension().and_then(|ending| ending.to_str());
        let (name, copy) = self.new_name(role, ending.unwrap_or("file"));
        let mut new = File::create_new(&copy)?;
        io::copy(&mut File::open(path)?, &mut new)?;
        new.sync_all()?;
        evidence_of(role, name, &copy, true)
    }

    fn note(&mut self, kept: io::Result<Evidence>, path: &Path) {
        match kept {
            Ok(evidence) => self.evidence.push(evidence),
            Err(error) => {
                self.unkept.get_or_insert_with(|| (path.to_owned(), error));
            }
        }
    }
}

fn evidence_of(role: &str, name: String, path: &Path, kept: bool) -> io::Result<Evidence> {
    let mut hash = FileHash::begin(role, path);
    hash.read(&|| false);
    match hash.into_input() {
        Input {
            bytes: Some(bytes),
            sha256: Some(sha256),
            ..
        } => Ok(Evidence {
            role: role.to_owned(),
            path: name,
            bytes,
            sha256,
            kept,
        }),
        input => Err(io::Error::other(input.not_hashed.unwrap_or_default())),
    }
}
