//! What can go wrong with a scratch cluster, and what to do then.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// Why something could not be done. [`ScratchError::hint`] says what to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ScratchError {
    /// A program is not installed where it was looked for.
    #[error("{program} is not installed here (looked in {looked})")]
    NotInstalled {
        /// The program.
        program: String,
        /// Where it was looked for.
        looked: String,
    },
    /// There is a server, but of another major release than the cluster needs.
    #[error("the cluster is of PostgreSQL {wanted}, and the programs found are of {found}")]
    WrongVersion {
        /// The cluster's major release.
        wanted: String,
        /// What was found.
        found: String,
    },
    /// PostgreSQL refuses to run as root, and there is nobody else to run it as.
    #[error("PostgreSQL refuses to run as root, and there is no system user `postgres` to run it as")]
    NoAccount,
    /// The system user that servers run as cannot enter the folder.
    #[error("the user that the server runs as cannot enter {}", path.display())]
    NotReachable {
        /// The folder.
        path: PathBuf,
    },
    /// The path of the server's socket would be longer than the system allows.
    #[error("{} is too long a path for a server's socket", path.display())]
    PathTooLong {
        /// The folder of the socket.
        path: PathBuf,
    },
    /// A folder is no PostgreSQL cluster, or not a whole one.
    #[error("{} is no PostgreSQL cluster: {why}", path.display())]
    NoCluster {
        /// The folder.
        path: PathBuf,
        /// What it lacks.
        why: String,
    },
    /// A program ended with an error.
    #[error("{program} failed: {told}")]
    Failed {
        /// The program.
        program: String,
        /// The last of what it said.
        told: String,
    },
    /// A server does not start or ended by itself.
    #[error("the scratch server does not run: {told}")]
    NoServer {
        /// The last lines of its log.
        told: String,
    },
    /// A program gave an answer that cannot be read.
    #[error("the answer of {program} cannot be read: {why}")]
    Unreadable {
        /// The program.
        program: String,
        /// What is wrong with it.
        why: String,
    },
    /// It took longer than it may.
    #[error("{what} took longer than {seconds} s")]
    TooLong {
        /// What did.
        what: String,
        /// The limit.
        seconds: u64,
    },
    /// The user asked to stop.
    #[error("stopped")]
    Stopped,
    /// A file or folder.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl ScratchError {
    pub(crate) fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    /// What to do about it, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotInstalled { program, .. } if program == "pgbackrest" => {
                "install the package pgbackrest (Debian and Ubuntu: apt-get install pgbackrest)"
            }
            Self::NotInstalled { .. } => {
                "install the PostgreSQL server (Debian and Ubuntu: apt-get install postgresql), or name the folder of its programs"
            }
            Self::WrongVersion { .. } => "install that major release, or name the folder of its programs",
            Self::NoAccount => {
                "install the PostgreSQL server's package, which makes that user, or run this as an ordinary user"
            }
            Self::NotReachable { .. } => {
                "every folder above it must let others pass (chmod o+x); or give another folder for scratch files"
            }
            Self::PathTooLong { .. } => "give a folder for scratch files that has a shorter name",
            Self::NoCluster { .. } => "give the folder that has PG_VERSION in it",
            Self::TooLong { .. } => "the machine may be busy or the disk full; try again",
            Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                "make room, or give another folder for scratch files"
            }
            _ => return None,
        })
    }
}
