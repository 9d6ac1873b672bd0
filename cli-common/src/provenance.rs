//! Where a document comes from: which tool made it, of which commit, when by this host's clock, and from which files.
//!
//! Which database was read is the `place` of a report.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The commit that this was built from, as 40 hex digits; `None` where it was built outside of the repository. In debug
/// builds it may be an older one than the code is of: they are not built anew for every commit.
pub const COMMIT: Option<&str> = option_env!("TOOLKIT_COMMIT");

/// How many bytes of a file are hashed at once.
const CHUNK: usize = 1 << 18;

/// Where a document comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The tool: `anchor-verify`.
    pub tool: String,
    /// Its version.
    pub version: String,
    /// Its [`COMMIT`].
    pub commit: Option<String>,
    /// When, by the clock of the host that it ran on: RFC 3339, UTC.
    pub made_at: String,
    /// The files that were read, in the order in which they were named.
    pub inputs: Vec<Input>,
    /// One name for all of them: SHA-256, in hex, over a line for each (`SHA256 ROLE PATH`, with `-` for a hash that is
    /// not there). Absent where no file was read, and in documents of older releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs_sha256: Option<String>,
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// What it was read as: `anchors`, `bundle`, `keys`.
    pub role: String,
    /// Its name as it was given.
    pub path: String,
    /// Its length in bytes.
    pub bytes: Option<u64>,
    /// SHA-256 of its bytes, in hex.
    pub sha256: Option<String>,
    /// Why it has no hash, if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_hashed: Option<String>,
}

impl Provenance {
    /// Of a document that is made now.
    #[must_use]
    pub fn now(tool: &str, inputs: Vec<Input>) -> Self {
        Self {
            tool: tool.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            commit: COMMIT.map(str::to_owned),
            made_at: format!("{:.6}", jiff::Timestamp::now()),
            inputs_sha256: (!inputs.is_empty()).then(|| hash_of(&inputs)),
            inputs,
        }
    }
}

/// See [`Provenance::inputs_sha256`].
fn hash_of(inputs: &[Input]) -> String {
    let mut digest = Sha256::new();
    for input in inputs {
        let sha256 = input.sha256.as_deref().unwrap_or("-");
        digest.update(format!("{sha256} {} {}\n", input.role, input.path));
    }
    hex::encode(digest.finalize())
}

/// One line for the head of a report.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let beginning = |text: &str, length: usize| text.chars().take(length).collect::<String>();
        write!(
            f,
            "Made: {}Z by {} {}",
            beginning(&self.made_at, 19),
            self.tool,
            self.version
        )?;
        if let Some(commit) = &self.commit {
            write!(f, " ({})", beginning(commit, 8))?;
        }
        match &self.inputs[..] {
            [] => Ok(()),
            [input] => {
                write!(f, " from {}", input.path)?;
                match &input.sha256 {
                    Some(sha256) => write!(f, " (sha256 {}...)", beginning(sha256, 8)),
                    None => Ok(()),
                }
            }
            inputs => {
                let all = self.inputs_sha256.as_deref().unwrap_or("-");
                write!(
                    f,
                    " from {} inputs (sha256 {}...)",
                    inputs.len(),
                    beginning(all, 8)
                )
            }
        }
    }
}

/// Hashes files beside the work that reads them, one after the other.
#[derive(Debug, Default)]
pub struct Inputs {
    hashed: Vec<Input>,
    worker: Option<Worker>,
}

/// Where files go to be hashed, with their roles, and who hashes them.
type Worker = (Sender<(String, PathBuf)>, JoinHandle<Vec<Input>>);

impl Inputs {
    /// Adds a file that is read as something.
    pub fn add(&mut self, role: &str, path: &Path) {
        let (sender, _) = self.worker.get_or_insert_with(|| {
            let (sender, receiver) = mpsc::channel();
            (sender, thread::spawn(move || hash_all(&receiver)))
        });
        // The worker ends only with the sender.
        let _ = sender.send((role.to_owned(), path.to_owned()));
    }

    /// Adds files that are hashed at once, on all threads. So are databases of SQLite, before they are opened: to close
    /// such a file gives up the locks that this process has on it.
    pub fn add_at_once<P: AsRef<Path> + Sync>(&mut self, role: &str, paths: &[P]) {
        let hashed = paths
            .par_iter()
            .map(|path| Input::of(role.to_owned(), path.as_ref()));
        self.hashed.par_extend(hashed);
    }

    /// Waits for the hashes.
    #[must_use]
    pub fn finish(self) -> Vec<Input> {
        let mut inputs = self.hashed;
        if let Some((sender, worker)) = self.worker {
            drop(sender);
            inputs.extend(worker.join().unwrap_or_default());
        }
        inputs
    }
}

fn hash_all(files: &Receiver<(String, PathBuf)>) -> Vec<Input> {
    files.iter().map(|(role, path)| Input::of(role, &path)).collect()
}

impl Input {
    /// Reads and hashes a file.
    fn of(role: String, path: &Path) -> Self {
        let (hashed, not_hashed) = match hash(path) {
            Ok(hashed) => (Some(hashed), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let (bytes, sha256) = hashed.unzip();
        Self {
            role,
            path: path.display().to_string(),
            bytes,
            sha256,
            not_hashed,
        }
    }
}

/// The length and hash of a file.
fn hash(path: &Path) -> io::Result<(u64, String)> {
    // What comes from a pipe is gone once it was read, and to open one may take for ever.
    let meta = path.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    if !meta.is_file() {
        return Err(io::Error::other("it is no plain file, and can be read only once"));
    }
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok((bytes, hex::encode(digest.finalize()))),
            Ok(read) => {
                digest.update(&chunk[..read]);
                bytes += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_with_their_hashes() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.json");
        std::fs::write(&file, "abc").unwrap();
        let mut inputs = Inputs::default();
        inputs.add("anchors", &file);
        inputs.add("keys", dir.path());
        inputs.add("keys", &dir.path().join("none"));
        let made = Provenance::now("tool", inputs.finish());
        let [anchors, folder, none] = &made.inputs[..] else {
            panic!("{made:?}");
        };
        assert_eq!((anchors.role.as_str(), anchors.bytes), ("anchors", Some(3)));
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(anchors.sha256.as_deref(), Some(abc));
        for other in [folder, none] {
            assert!(other.sha256.is_none() && other.not_hashed.is_some(), "{other:?}");
        }
        assert!(
            made.made_at.ends_with('Z') && made.made_at.len() == 27,
            "{made:?}"
        );
        assert!(made.commit.as_ref().is_none_or(|commit| commit.len() == 40));
        assert!(Inputs::default().finish().is_empty());
        let line = made.to_string();
        assert!(
            line.starts_with("Made: 2") && line.contains("Z by tool 0."),
            "{line}"
        );
        assert!(
            line.ends_with("...)") && line.contains(" from 3 inputs (sha256 "),
            "{line}"
        );
    }

    #[test]
    fn one_hash_names_all_inputs() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["a", "b", "c"].map(|name| dir.path().join(name));
        for file in &files {
            std::fs::write(file, file.as_os_str().as_encoded_bytes()).unwrap();
        }
        let made = |files: &[PathBuf]| {
            let mut inputs = Inputs::default();
            inputs.add_at_once("outbox", files);
            Provenance::now("tool", inputs.finish())
        };
        let (all, again) = (made(&files), made(&files));
        assert_eq!(all.inputs_sha256, again.inputs_sha256);
        assert_eq!(all.inputs.len(), 3);
        assert!(
            all.inputs
                .iter()
                .zip(&files)
                .all(|(input, file)| input.path == file.display().to_string())
        );
        assert_ne!(made(&files[..2]).inputs_sha256, all.inputs_sha256);
        std::fs::write(&files[1], "other").unwrap();
        assert_ne!(made(&files).inputs_sha256, all.inputs_sha256);
        assert_eq!(made(&[]).inputs_sha256, None);
    }
}
