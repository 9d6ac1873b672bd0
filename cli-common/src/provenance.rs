//! Where a document comes from: which tool made it, of which commit, when by this host's clock, and from which files.
//!
//! Which database was read is the `place` of a report.

use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::SystemTime;

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

/// For the head of a report: what made it, when, and from what, in two lines of 80 columns at most.
impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = beginning(&self.made_at, 19);
        write!(f, "Made: {at}Z by {} {}", self.tool, self.version)?;
        if let Some(commit) = &self.commit {
            write!(f, " ({})", beginning(commit, 8))?;
        }
        let without = self.inputs.iter().filter(|input| input.sha256.is_none()).count();
        match &self.inputs[..] {
            [] => Ok(()),
            [one] => write!(f, " from {}", one.in_words()),
            many => {
                let all = self.inputs_sha256.as_deref().unwrap_or("-");
                write!(f, " from {} inputs (sha256 {}...", many.len(), beginning(all, 8))?;
                match without {
                    0 => write!(f, ")"),
                    without => write!(f, "; {without} without a hash)"),
                }
            }
        }
    }
}

impl Input {
    /// The end of its name, and of its hash the beginning.
    fn in_words(&self) -> String {
        let name = self.path.rsplit('/').next().unwrap_or(&self.path);
        let long = name.chars().count().saturating_sub(LONGEST_NAME);
        let name: String = match long {
            0 => name.to_owned(),
            long => format!("...{}", name.chars().skip(long + 3).collect::<String>()),
        };
        match &self.sha256 {
            Some(hash) => format!("{name} (sha256 {}...)", beginning(hash, 8)),
            None => format!("{name} (without a hash)"),
        }
    }
}

fn beginning(text: &str, length: usize) -> &str {
    text.get(..length).unwrap_or(text)
}

/// So much of a file's name is shown.
const LONGEST_NAME: usize = 40;

/// The hash of a file, and what the file was like before it was read.
///
/// Closing any handle of a file drops this process's POSIX locks on it: a file is hashed before SQLite opens it, or by the
/// handle that holds it.
#[derive(Debug)]
pub struct FileHash {
    path: PathBuf,
    input: Input,
    before: Option<Stamp>,
}

/// What a change of a file changes.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    identity: Option<(u64, u64)>,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        Self {
            identity: identity(meta),
            length: meta.len(),
            modified: meta.modified().ok(),
        }
    }
}

#[cfg(unix)]
#[allow(clippy::unnecessary_wraps)] // Elsewhere there is none.
fn identity(meta: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;

    Some((meta.dev(), meta.ino()))
}

#[cfg(not(unix))]
fn identity(_: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Why a file has no hash that changed while it was worked with.
const CHANGED: &str = "it changed while it was read";

impl FileHash {
    /// Looks at a file that is to be read as something, and does not read it yet.
    #[must_use]
    pub fn begin(role: &str, path: &Path) -> Self {
        let mut hash = Self {
            path: path.to_owned(),
            input: Input {
                role: role.to_owned(),
                path: path.display().to_string(),
                bytes: None,
                sha256: None,
                not_hashed: None,
            },
            before: None,
        };
        match path.metadata() {
            // What comes from a pipe is gone once it was read, and to open one may take for ever.
            Ok(meta) if meta.is_dir() => hash.leave("it is a folder"),
            Ok(meta) if !meta.is_file() => {
                hash.leave("it is no plain file, and can be read only once");
            }
            Ok(meta) => hash.before = Some(Stamp::of(&meta)),
            Err(error) => hash.leave(error),
        }
        hash
    }

    /// Reads and hashes the file. `stop` is asked again and again whether to give up.
    pub fn read(&mut self, stop: &dyn Fn() -> bool) {
        if self.before.is_none() {
            return;
        }
        match File::open(&self.path) {
            Ok(mut file) => self.take(stop, &mut |chunk, _| file.read(chunk)),
            Err(error) => self.leave(error),
        }
    }

    /// Hashes the file by a handle that somebody else reads from too.
    #[cfg(unix)]
    pub fn read_beside(&mut self, file: &File, stop: &dyn Fn() -> bool) {
        use std::os::unix::fs::FileExt as _;

        if self.before.is_some() {
            self.take(stop, &mut |chunk, at| file.read_at(chunk, at));
        }
    }

    /// Hashes the file.
    #[cfg(not(unix))]
    pub fn read_beside(&mut self, _: &File, stop: &dyn Fn() -> bool) {
        self.read(stop);
    }

    fn take(&mut self, stop: &dyn Fn() -> bool, read: &mut dyn FnMut(&mut [u8], u64) -> io::Result<usize>) {
        let mut digest = Sha256::new();
        let mut chunk = vec![0; CHUNK];
        let mut bytes = 0;
        loop {
            match read(&mut chunk, bytes) {
                Ok(0) => break,
                Ok(read) => {
                    digest.update(&chunk[..read]);
                    bytes += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.leave(error),
            }
            if stop() {
                return self.leave("it was not read to its end");
            }
        }
        self.input.bytes = Some(bytes);
        self.input.sha256 = Some(hex::encode(digest.finalize()));
        self.look_again();
    }

    fn look_again(&mut self) {
        let now = self.path.metadata().ok();
        if self.before.is_some() && now.as_ref().map(Stamp::of) != self.before {
            self.leave(CHANGED);
        }
    }

    /// Takes the hash back if the file changed since [`FileHash::begin`]. What changes it from here on is not looked for.
    pub fn settle(&mut self) {
        self.look_again();
        self.before = None;
    }

    /// What is said of the file.
    #[must_use]
    pub fn into_input(self) -> Input {
        self.input
    }

    fn leave(&mut self, why: impl ToString) {
        self.before = None;
        (self.input.bytes, self.input.sha256) = (None, None);
        self.input.not_hashed = Some(why.to_string());
    }
}

/// Hashes files beside the work that reads them, one after the other.
#[derive(Debug, Default)]
pub struct Inputs {
    hashed: Vec<FileHash>,
    worker: Option<Worker>,
}

/// Where files go to be hashed, with their roles, and who hashes them.
type Worker = (Sender<(String, PathBuf)>, JoinHandle<Vec<FileHash>>);

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
        let hashed = paths.par_iter().map(|path| hash(role, path.as_ref()));
        self.hashed.par_extend(hashed);
    }

    /// Waits for the hashes. A file that changed since it was hashed has none.
    #[must_use]
    pub fn finish(self) -> Vec<Input> {
        let mut hashes = self.hashed;
        if let Some((sender, worker)) = self.worker {
            drop(sender);
            hashes.extend(worker.join().unwrap_or_default());
        }
        hashes.iter_mut().for_each(FileHash::settle);
        hashes.into_iter().map(FileHash::into_input).collect()
    }
}

fn hash_all(files: &Receiver<(String, PathBuf)>) -> Vec<FileHash> {
    files.iter().map(|(role, path)| hash(&role, &path)).collect()
}

fn hash(role: &str, path: &Path) -> FileHash {
    let mut hash = FileHash::begin(role, path);
    hash.read(&|| false);
    hash
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
            line.ends_with("...; 2 without a hash)") && line.contains(" from 3 inputs (sha256 "),
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

    #[test]
    fn a_file_that_changes_has_no_hash() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        std::fs::write(&path, vec![7; 3 * CHUNK]).unwrap();
        let mut whole = FileHash::begin("outbox", &path);
        whole.read(&|| false);
        whole.settle();
        assert_eq!(whole.into_input().bytes, Some(3 * CHUNK as u64));
        // While it is hashed, and afterwards.
        let mut during = FileHash::begin("outbox", &path);
        let grow = || {
            File::options()
                .append(true)
                .open(&path)
                .unwrap()
                .set_len(9)
                .is_err()
        };
        during.read(&grow);
        let mut later = FileHash::begin("outbox", &path);
        later.read(&|| false);
        std::fs::write(&path, "longer than nine bytes").unwrap();
        later.settle();
        let mut stopped = FileHash::begin("outbox", &path);
        stopped.read(&|| true);
        for (hash, why) in [
            (during, CHANGED),
            (later, CHANGED),
            (stopped, "it was not read to its end"),
        ] {
            let input = hash.into_input();
            assert_eq!(input.not_hashed.as_deref(), Some(why));
            assert!(input.sha256.is_none() && input.bytes.is_none(), "{input:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_is_held_is_hashed_by_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        std::fs::write(&path, "abc").unwrap();
        let held = File::open(&path).unwrap();
        let mut by_handle = FileHash::begin("outbox", &path);
        by_handle.read_beside(&held, &|| false);
        let mut by_name = FileHash::begin("outbox", &path);
        by_name.read(&|| false);
        assert_eq!(by_handle.into_input(), by_name.into_input());
    }

    #[test]
    fn in_words_it_takes_two_lines() {
        let input = |path: &str, hash: Option<String>| Input {
            role: "outbox".into(),
            path: path.into(),
            bytes: None,
            sha256: hash,
            not_hashed: None,
        };
        let hash = || Some("0123456789abcdef".repeat(4));
        let mut made = Provenance::now("sequencer-recovery", Vec::new());
        made.commit = Some("fedcba9876543210fedc".to_owned());
        made.made_at = "2026-03-01T10:00:00.123456Z".into();
        let long = format!("/srv/{}/{}.db", "a".repeat(200), "b".repeat(200));
        let several = vec![input("a.db", hash()), input("b.db", None)];
        for (inputs, end) in [
            (vec![], "10:00:00Z by sequencer-recovery 0.1.0 (fedcba98)"),
            (vec![input("/srv/a.db", hash())], "from a.db (sha256 01234567...)"),
            (vec![input(&long, None)], "bbb.db (without a hash)"),
            (several, " from 2 inputs (sha256 -...; 1 without a hash)"),
        ] {
            made.inputs = inputs;
            let words = made.to_string();
            assert!(words.ends_with(end), "{words}");
            assert!(words.starts_with("Made: 2026-03-01T"), "{words}");
            assert!(crate::wrap::prose(&words, 80).len() <= 2, "{words}");
        }
    }
}
