//! The folder: what it is, and what is added to it.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::recorder;
use super::timeline::{Entry, Happening, Timeline};

use crate::{Access, CliError, Existing, WholeFile, file_hint, files};

/// The name and version of `incident.json`.
pub const SCHEMA: &str = "incident/1";

/// What an incident is; it does not change until it is closed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Incident {
    /// [`SCHEMA`].
    pub schema: String,
    /// Its name: `log-loss`.
    pub id: String,
    /// What it is about, in a line.
    pub title: String,
    /// When its folder was made: RFC 3339, UTC.
    pub started_at: String,
    /// Recovery time objective, in seconds.
    pub rto_seconds: Option<f64>,
    /// Recovery point objective, in seconds.
    pub rpo_seconds: Option<f64>,
}

/// The folder of an incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncidentFolder {
    path: PathBuf,
}

/// Files of the folder.
const INCIDENT: &str = "incident.json";
const TIMELINE: &str = "timeline.ndjson";

/// `incident.json` is not longer than this.
const MAX_INCIDENT: u64 = 1 << 20;

impl IncidentFolder {
    /// Makes the folder, with `incident.json`, an empty folder for evidence, and the first entry of the timeline.
    ///
    /// # Errors
    /// Something has this name that is no empty folder, or it cannot be written.
    pub fn create(path: &Path, incident: &Incident) -> Result<Self, CliError> {
        let folder = Self {
            path: path.to_owned(),
        };
        let failed = |error| CliError::cannot_write(path, error);
        fs::create_dir_all(path).map_err(failed)?;
        if fs::read_dir(path).map_err(failed)?.next().is_some() {
            return Err(CliError::input(format!("{} is not empty", path.display()))
                .with_hint("give a folder that does not exist yet: each incident has its own"));
        }
        keep_private(path).map_err(failed)?;
        fs::create_dir(folder.evidence()).map_err(failed)?;
        folder.write(INCIDENT, Existing::Keep, &pretty(incident))?;
        let title = incident.title.clone();
        folder.append(Happening::Opened { title })?;
        Ok(folder)
    }

    /// A folder that was made before.
    ///
    /// # Errors
    /// There is none of this name, or it is none of an incident.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let folder = Self {
            path: path.to_owned(),
        };
        folder.incident()?;
        Ok(folder)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where evidence lies.
    #[must_use]
    pub fn evidence(&self) -> PathBuf {
        self.path.join(recorder::FOLDER)
    }

    /// What the incident is.
    ///
    /// # Errors
    /// `incident.json` cannot be read, or is of another version.
    pub fn incident(&self) -> Result<Incident, CliError> {
        let path = self.path.join(INCIDENT);
        let none = |what: &dyn std::fmt::Display| {
            CliError::input(format!("{} is no folder of an incident: {what}", self.path.display())).with_hint(
                "`sequencer-recovery incident start` makes one; without an incident leave --incident away, and \
                 SEQUENCER_INCIDENT unset; nothing was done",
            )
        };
        let text = files::read_text(&path, MAX_INCIDENT).map_err(|e| none(&format!("{INCIDENT}: {e}")))?;
        let incident: Incident =
            serde_json::from_str(&text).map_err(|e| none(&format!("{INCIDENT}: {e}")))?;
        match incident.schema.as_str() {
            SCHEMA => Ok(incident),
            other => Err(none(&format!(
                "{INCIDENT} is {other:?}, and {SCHEMA:?} is read here"
            ))),
        }
    }

    /// What happened so far.
    ///
    /// # Errors
    /// The timeline cannot be read. What is wrong in it is no error: [`Timeline::faults`].
    pub fn timeline(&self) -> Result<Timeline, CliError> {
        let path = self.path.join(TIMELINE);
        let text = read(&path).map_err(|e| cannot_read(&path, e))?;
        Ok(Timeline::read(&text))
    }

    /// Adds an entry to the timeline: on disk when this returns, whoever else adds one at the same time.
    ///
    /// # Errors
    /// The incident is closed, or the file cannot be written.
    pub fn append(&self, what: Happening) -> Result<Entry, CliError> {
        let path = self.path.join(TIMELINE);
        let failed = |error: io::Error| {
            let hint = format!("{}; nothing was noted", file_hint(&path, &error));
            CliError::cannot_write(&path, error).with_hint(hint)
        };
        // What is noted goes nowhere else, and to no device.
        WholeFile::check(&path, Existing::Replace).map_err(failed)?;
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(&path)
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let before = Timeline::read(&text);
        if before.closed().is_some() {
            return Err(
                CliError::drift(format!("the incident of {} is closed", self.path.display()))
                    .with_hint("unset SEQUENCER_INCIDENT, or start another incident; nothing was done"),
            );
        }
        let entry = before.following(what);
        let mut line = serde_json::to_vec(&entry).map_err(|e| failed(e.into()))?;
        line.push(b'\n');
        if !text.is_empty() && !text.ends_with(b"\n") {
            // Somebody was killed while writing: what there is of that line stays, and is told.
            line.insert(0, b'\n');
        }
        let end = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let written = file.write_all(&line).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // A full disk leaves no half line behind.
            let _ = file.set_len(end);
            return Err(failed(error));
        }
        Ok(entry)
    }

    /// Writes a file of the folder, whole.
    ///
    /// # Errors
    /// It is there and to be kept, or cannot be written.
    pub fn write(&self, name: &str, existing: Existing, text: &str) -> Result<PathBuf, CliError> {
        let path = self.path.join(name);
        let write = || {
            let mut file = WholeFile::create(&path, Access::Owner, existing)?;
            file.write_all(text.as_bytes())?;
            file.finish()
        };
        write().map_err(|error| CliError::cannot_write(&path, error))?;
        Ok(path)
    }
}

/// A timeline is not longer than this: some 100,000 commands.
const MAX_TIMELINE: u64 = 256 << 20;

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    File::open(path)?.take(MAX_TIMELINE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_TIMELINE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "it is longer than any timeline",
        ));
    }
    Ok(text)
}

fn cannot_read(path: &Path, error: io::Error) -> CliError {
    CliError::input(format!("cannot read {}", path.display()))
        .with_hint(file_hint(path, &error))
        .with_source(error)
}

fn pretty(value: &impl Serialize) -> String {
    // Values of this module have text for keys, and nothing else that JSON could refuse.
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// Evidence may name keys, hosts and agents: only its owner looks into the folder, unless that is changed.
#[cfg(unix)]
fn keep_private(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

#[cfg(not(unix))]
fn keep_private(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::timeline::TimelineFault;
    use super::*;

    fn incident() -> Incident {
        Incident {
            schema: SCHEMA.into(),
            id: "2026-11-28-a".into(),
            title: "a".into(),
            started_at: "2026-11-28T00:00:00Z".into(),
            rto_seconds: Some(3600.0),
            rpo_seconds: None,
        }
    }

    fn note(text: &str) -> Happening {
        Happening::Note {
            happened_at: "2026-11-28T00:00:01Z".into(),
            text: text.into(),
            intervention: false,
        }
    }

    #[test]
    fn a_folder_keeps_what_happened_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("incidents/a");
        let folder = IncidentFolder::create(&path, &incident()).unwrap();
        assert_eq!(
            IncidentFolder::open(&path).unwrap().incident().unwrap(),
            incident()
        );
        // Many at once.
        std::thread::scope(|scope| {
            for n in 0..8 {
                let folder = &folder;
                scope.spawn(move || folder.append(note(&format!("note {n}"))).unwrap());
            }
        });
        let timeline = folder.timeline().unwrap();
        assert!(timeline.faults.is_empty(), "{:?}", timeline.faults);
        assert_eq!(timeline.entries.len(), 9);
        assert!(timeline.entries.iter().zip(1..).all(|(entry, n)| entry.n == n));
        // Another one finds the folder taken.
        assert!(IncidentFolder::create(&path, &incident()).is_err());
        folder.append(Happening::Closed { files: 1 }).unwrap();
        let error = folder.append(note("late")).unwrap_err();
        assert!(error.to_string().contains("closed"), "{error}");
    }

    #[test]
    fn what_was_changed_or_cut_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let folder = IncidentFolder::create(&dir.path().join("a"), &incident()).unwrap();
        for text in ["one", "two"] {
            folder.append(note(text)).unwrap();
        }
        let path = folder.path().join(TIMELINE);
        let whole = fs::read_to_string(&path).unwrap();
        let faults = |text: &str| {
            fs::write(&path, text).unwrap();
            folder.timeline().unwrap().faults
        };
        assert_eq!(faults(&whole), []);
        assert_eq!(
            faults(&whole.replace("\"one\"", "\"ONE\"")),
            [TimelineFault::Chain { line: 3 }]
        );
        let without: Vec<&str> = whole
            .lines()
            .enumerate()
            .filter(|l| l.0 != 1)
            .map(|l| l.1)
            .collect();
        assert_eq!(
            faults(&(without.join("\n") + "\n")),
            [TimelineFault::Chain { line: 2 }]
        );
        // Killed in the middle of a line: the rest goes on behind it.
        let torn = &whole[..whole.len() - 20];
        assert_eq!(faults(torn), [TimelineFault::Unreadable { line: 3 }]);
        let entry = folder.append(note("three")).unwrap();
        let timeline = folder.timeline().unwrap();
        assert_eq!(timeline.faults, [TimelineFault::Unreadable { line: 3 }]);
        assert_eq!((entry.n, timeline.entries.len()), (4, 3));
    }

    #[cfg(unix)]
    #[test]
    fn a_timeline_that_leads_elsewhere_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let folder = IncidentFolder::create(&dir.path().join("a"), &incident()).unwrap();
        let (path, elsewhere) = (folder.path().join(TIMELINE), dir.path().join("elsewhere"));
        fs::rename(&path, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        let before = fs::read(&elsewhere).unwrap();
        assert!(folder.append(note("one")).is_err());
        assert_eq!(fs::read(&elsewhere).unwrap(), before);
    }

    #[test]
    fn what_is_no_incident_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let told = || IncidentFolder::open(dir.path()).unwrap_err().to_string();
        assert!(told().contains("is no folder of an incident"), "{}", told());
        for wrong in [
            "",
            "{}",
            "[1",
            &pretty(&incident()).replace("incident/1", "incident/2"),
        ] {
            fs::write(dir.path().join(INCIDENT), wrong).unwrap();
            assert!(
                told().contains("is no folder of an incident"),
                "{wrong}: {}",
                told()
            );
        }
    }
}
