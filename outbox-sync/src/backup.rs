//! Backing up an outbox: one file with all of it, consistent, checked, and in its place only when it is whole.

use std::fs::File;
use std::path::{Path, PathBuf};

use cli_common::{Access, partial_file};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde::Serialize;

use crate::error::OutboxErrorKind;
use crate::export::folder;
use crate::outbox::{Outbox, StatusCounts};
use crate::private_copy;
use cli_common::PrivateDir;

const INTEGRITY_CHECK: &str = include_str!("../../sql/outbox-sync/integrity_check.sql");

/// A backup that was made.
#[derive(Debug, Clone, Serialize)]
pub struct BackedUp {
    /// The outbox.
    #[serde(serialize_with = "crate::row::path_as_text")]
    pub outbox: PathBuf,
    /// The backup.
    #[serde(serialize_with = "crate::row::path_as_text")]
    pub backup: PathBuf,
    /// How long it is.
    pub bytes: u64,
    /// Rows of the outbox by state, read from the backup.
    pub counts: StatusCounts,
    /// Rows of the pulled events.
    pub pulled: u64,
    /// Rows of the quarantined events.
    pub quarantined: u64,
}

/// A backup that was not made. Nothing was put in its place.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct BackupError {
    /// The file concerned.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

/// Backs up an outbox, also beside a live writer. Nothing of the outbox is changed; a file that is at `out` already
/// is replaced only if `replace` says so, and only by a backup that was checked.
///
/// # Errors
/// The outbox cannot be read or is damaged, or the backup cannot be written.
pub fn backup(outbox: &Path, out: &Path, replace: bool) -> Result<BackedUp, BackupError> {
    let of_source = |kind: OutboxErrorKind| BackupError {
        path: outbox.to_owned(),
        what: kind.to_string(),
    };
    let of_out = |what: String| BackupError {
        path: out.to_owned(),
        what,
    };
    if !replace && out.symlink_metadata().is_ok() {
        return Err(of_out("the file exists already".into()));
    }
    if let (Ok(a), Ok(b)) = (outbox.canonicalize(), out.canonicalize())
        && a == b
    {
        return Err(of_out("is the outbox itself".into()));
    }
    let dir = PrivateDir::new().map_err(|e| of_source(OutboxErrorKind::Copy(e)))?;
    let copy = private_copy::make(outbox, dir.path()).map_err(of_source)?;
    let file = partial_file(out, Access::Owner).map_err(|e| of_out(e.to_string()))?;
    let sqlite = |e: rusqlite::Error| of_source(e.into());
    let from = Connection::open(&copy).map_err(sqlite)?;
    let mut to = Connection::open(file.path()).map_err(|e| of_out(e.to_string()))?;
    let step = Backup::new(&from, &mut to).and_then(|backup| backup.step(-1));
    match step {
        Ok(StepResult::Done) => {}
        Ok(other) => return Err(of_out(format!("SQLite's backup ended with {other:?}"))),
        Err(error) => return Err(of_source(error.into())),
    }
    let said: String = to
        .query_row(INTEGRITY_CHECK, [], |row| row.get(0))
        .map_err(|e| of_out(e.to_string()))?;
    if said != "ok" {
        let said: String = said.chars().take(300).collect();
        return Err(of_source(OutboxErrorKind::Damaged(said)));
    }
    to.close().map_err(|(_, e)| of_out(e.to_string()))?;
    from.close().map_err(|(_, e)| of_out(e.to_string()))?;

    // What was written is read as any outbox is, and must say the same as its source.
    let expected = Outbox::open(&copy).map_err(|e| of_source(e.kind))?;
    let written = Outbox::open(file.path()).map_err(|e| of_out(e.kind.to_string()))?;
    let (a, b) = (expected.meta(), written.meta());
    if (a.outbox, a.pulled, a.quarantined, a.shape) != (b.outbox, b.pulled, b.quarantined, b.shape) {
        return Err(of_out("the backup does not hold what the outbox holds".into()));
    }
    let done = BackedUp {
        outbox: outbox.to_owned(),
        backup: out.to_owned(),
        bytes: file
            .as_file()
            .metadata()
            .map_err(|e| of_out(e.to_string()))?
            .len(),
        counts: b.outbox,
        pulled: b.pulled,
        quarantined: b.quarantined,
    };
    drop((expected, written));
    let put = || -> std::io::Result<()> {
        File::open(file.path())?.sync_all()?;
        if replace {
            file.persist(out).map_err(|e| e.error)?;
        } else {
            file.persist_noclobber(out).map_err(|e| e.error)?;
        }
        File::open(folder(out))?.sync_all()
    };
    put().map_err(|e| of_out(e.to_string()))?;
    Ok(done)
}
