//! Where the programs of a PostgreSQL server are.

use std::env::split_paths;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ScratchError;

/// Where Debian's packages put the programs, in a folder for each major release.
const PACKAGED: &str = "/usr/lib/postgresql";

/// Where to look for programs.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// The folder of the server's programs (`initdb`, `postgres`); if it is given, no other is looked at.
    pub folder: Option<PathBuf>,
    /// The environment's `PATH`.
    pub path: OsString,
}

/// The programs of a PostgreSQL server, all in one folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    dir: PathBuf,
    version: String,
}

impl Binaries {
    /// The folder that is named, or where `initdb` on the `PATH` really lies, or the newest that is packaged.
    ///
    /// # Errors
    /// [`ScratchError::NotInstalled`]; a `postgres` that does not run.
    pub fn find(search: &Search) -> Result<Self, ScratchError> {
        Self::first(search, |_| true)
    }

    /// As [`Binaries::find`], but of the major release `wanted` (`15`), which [`cluster_version`] tells of a cluster.
    ///
    /// # Errors
    /// As [`Binaries::find`]; [`ScratchError::WrongVersion`].
    pub fn find_major(search: &Search, wanted: &str) -> Result<Self, ScratchError> {
        match Self::first(search, |found| found.major() == wanted) {
            Err(ScratchError::WrongVersion { found, .. }) => Err(ScratchError::WrongVersion {
                wanted: wanted.to_owned(),
                found,
            }),
            found => found,
        }
    }

    fn first(search: &Search, fits: impl Fn(&Self) -> bool) -> Result<Self, ScratchError> {
        let mut others = Vec::new();
        for dir in candidates(search) {
            if !dir.join("initdb").is_file() || !dir.join("postgres").is_file() {
                continue;
            }
            let found = Self {
                version: version(&dir.join("postgres"))?,
                dir,
            };
            if fits(&found) {
                return Ok(found);
            }
            others.push(found.version);
        }
        if others.is_empty() {
            let looked = match &search.folder {
                Some(folder) => folder.display().to_string(),
                None => format!("the PATH and {PACKAGED}"),
            };
            let program = "the PostgreSQL server (initdb, postgres)".to_owned();
            return Err(ScratchError::NotInstalled { program, looked });
        }
        others.dedup();
        Err(ScratchError::WrongVersion {
            wanted: String::new(),
            found: others.join(", "),
        })
    }

    /// Their folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The release: `15.4`, `17beta1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The major release, as a cluster's `PG_VERSION` has it: `15`.
    #[must_use]
    pub fn major(&self) -> &str {
        let digits = |c: char| !c.is_ascii_digit();
        self.version.split(digits).next().unwrap_or_default()
    }

    /// One of the programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// A program on the `PATH`.
pub(crate) fn on_path(name: &str, path: &OsStr) -> Option<PathBuf> {
    split_paths(path)
        .map(|dir| dir.join(name))
        .find(|program| program.is_file())
}

fn candidates(search: &Search) -> Vec<PathBuf> {
    if let Some(folder) = &search.folder {
        return vec![folder.clone()];
    }
    // Debian's `initdb` on the PATH, if there is one, is a link into the folder of the others.
    let on_path = split_paths(&search.path).filter_map(|dir| {
        let program = dir.join("initdb").canonicalize().ok()?;
        program.parent().map(Path::to_path_buf)
    });
    let major = |dir: &PathBuf| dir.file_name()?.to_str()?.parse::<u32>().ok();
    let mut packaged: Vec<PathBuf> = match fs::read_dir(PACKAGED) {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => Vec::new(),
    };
    packaged.sort_by_key(major);
    let packaged = packaged.into_iter().rev().map(|dir| dir.join("bin"));
    on_path.chain(packaged).collect()
}

/// `postgres (PostgreSQL) 15.4 (Debian 15.4-1)` says that it is 15.4.
fn version(program: &Path) -> Result<String, ScratchError> {
    let output = Command::new(program)
        .arg("--version")
        .output()
        .map_err(ScratchError::io(program))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut words = said.split_whitespace().skip_while(|word| *word != "(PostgreSQL)");
    let version = words.nth(1).filter(|_| output.status.success());
    version.map(str::to_owned).ok_or_else(|| ScratchError::Failed {
        program: program.display().to_string(),
        told: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// The major release of a cluster (`15`), from its `PG_VERSION`.
///
/// # Errors
/// [`ScratchError::NoCluster`].
pub fn cluster_version(data_dir: &Path) -> Result<String, ScratchError> {
    let path = data_dir.join("PG_VERSION");
    let failed = |why: String| ScratchError::NoCluster {
        path: data_dir.to_owned(),
        why,
    };
    // A version has a few characters; whatever is longer is none.
    let size = fs::metadata(&path)
        .map_err(|error| failed(format!("PG_VERSION: {error}")))?
        .len();
    let text = if size <= 32 {
        fs::read_to_string(&path).map_err(|error| failed(format!("PG_VERSION: {error}")))?
    } else {
        String::new()
    };
    let version = text.trim();
    let plain = !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    plain
        .then(|| version.to_owned())
        .ok_or_else(|| failed("PG_VERSION has no version".to_owned()))
}
