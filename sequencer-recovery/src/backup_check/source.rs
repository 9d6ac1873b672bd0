//! Which backup, and where it is restored to.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli_common::DbTarget;
use scratch_postgres::{Patience, Search, Server};
use serde::Serialize;

use crate::witness::Dump;

/// The backup that is checked.
#[derive(Debug)]
pub enum Source {
    /// One of pgBackRest's.
    PgBackRest(FromPgBackRest),
    /// A folder that pg_basebackup made.
    BaseBackup {
        /// The folder.
        dir: PathBuf,
        /// Where the WAL is archived; without it, the backup has its own.
        wal: Option<PathBuf>,
        /// Where replaying stops; at the end of the WAL without it.
        target_time: Option<String>,
    },
    /// What pg_dump wrote.
    Dump(Dump),
    /// A copy that somebody restored.
    Copy {
        /// Where it is.
        db: DbTarget,
        /// It was said to be a copy: nobody asks whether it looks like production.
        is_a_copy: bool,
    },
}

/// A backup of pgBackRest's.
#[derive(Debug)]
pub struct FromPgBackRest {
    /// The stanza.
    pub stanza: String,
    /// The configuration file; the usual one without it.
    pub config: Option<PathBuf>,
    /// The backup; the newest without it.
    pub set: Option<String>,
    /// Where replaying stops; at the end of the archive without it.
    pub target_time: Option<String>,
}

/// Where a backup is restored to, and how.
#[derive(Debug)]
pub struct Scratch<'a> {
    /// Where the private folder is made; the system's temporary folder without it.
    pub parent: Option<&'a Path>,
    /// Where programs are looked for.
    pub search: Search,
    /// How long each step may take, and who may stop it.
    pub patience: Patience<'a>,
    /// The database of the cluster with the log; without it, the one that has one.
    pub database: Option<&'a str>,
    /// The superuser of the restored cluster.
    pub role: &'a str,
}

impl Scratch<'_> {
    /// The environment's `PATH`.
    pub(super) fn path(&self) -> &OsStr {
        &self.search.path
    }
}

/// What is known of a backup before it is restored.
#[derive(Debug, Clone, Serialize)]
pub struct Origin {
    /// `pgbackrest`, `pg_basebackup`, `dump` or `copy`.
    pub kind: &'static str,
    /// Which: the stanza, folder, file or URL, without secrets.
    pub name: String,
    /// Which of several: pgBackRest's label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// When it was finished, as its maker says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
}

impl Source {
    /// What is known of it at once.
    pub fn origin(&self) -> Origin {
        let (kind, name) = match self {
            Self::PgBackRest(from) => ("pgbackrest", from.stanza.clone()),
            Self::BaseBackup { dir, .. } => ("pg_basebackup", dir.display().to_string()),
            Self::Dump(dump) => ("dump", dump.shown().display().to_string()),
            Self::Copy { db, .. } => ("copy", db.to_string()),
        };
        Origin {
            kind,
            name,
            label: None,
            made: None,
        }
    }
}

/// How long a step took.
#[derive(Debug, Clone, Serialize)]
pub struct StepTime {
    /// `restore`, `verify`, `start`, `audit`, `plan`.
    pub name: &'static str,
    /// How long.
    pub seconds: f64,
}

/// What is broken, and where it was seen.
#[derive(Debug, Clone, Serialize)]
pub struct Broken {
    /// The step.
    pub step: &'static str,
    /// What was said.
    pub what: String,
}

/// A backup that was restored. Dropped, server and files are gone.
#[derive(Debug)]
pub struct Restored {
    /// Where its log is, or may be: several databases of one cluster.
    pub(super) candidates: Vec<DbTarget>,
    /// Its server.
    pub(super) _server: Option<Server>,
    /// Its private folder.
    pub(super) _folder: Option<cli_common::PrivateDir>,
}

/// Steps so far, and what was not checked on the way.
#[derive(Debug, Default)]
pub struct Way {
    /// How long each step took.
    pub steps: Vec<StepTime>,
    /// What was not checked.
    pub not_checked: Vec<String>,
}

impl Way {
    /// Does a step and notes how long it took, however it ends.
    pub(super) fn step<T>(&mut self, name: &'static str, work: impl FnOnce(&mut Self) -> T) -> T {
        let begun = std::time::Instant::now();
        let done = work(self);
        self.note(name, begun.elapsed());
        done
    }

    pub(super) fn note(&mut self, name: &'static str, took: Duration) {
        self.steps.push(StepTime {
            name,
            seconds: took.as_secs_f64(),
        });
    }
}
