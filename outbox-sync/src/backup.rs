//! Backing up an outbox: one file with all of it, consistent, checked, and in its place only when it is whole.

use std::path::{Path, PathBuf};

use cli_common::{Access, Cancel, Existing, PrivateDir, WholeFile};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};
use serde::Serialize;

use crate::error::{FileError, OutboxErrorKind};
use crate::outbox::{Outbox, StatusCounts};
use crate::private_copy;

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

/// Backs up an outbox, also beside a live writer. Nothing of the outbox is changed; a file that is at `out` already
/// is replaced only if `replace` says so, and only by a backup that was checked.
///
/// # Errors
/// The outbox cannot be read or is damaged, or the backup cannot be written.
pub fn backup(outbox: &Path, out: &Path, replace: bool) -> Result<BackedUp, FileError> {
    backup_unless(outbox, out, Existing::replaced_if(replace), &Cancel::new())
}

/// As [`backup`], unless the user stops it before the backup has its name.
///
/// # Errors
/// As [`backup`]; or it was stopped.
pub fn backup_unless(
    outbox: &Path,
    out: &Path,
    existing: Existing,
    cancel: &Cancel,
) -> Result<BackedUp, FileError> {
    let of_source = |kind: OutboxErrorKind| FileError::new(outbox, kind);
    let of_out = |error: std::io::Error| FileError::new(out, error);
    let check = || {
        cancel
            .check()
            .map_err(|stopped| FileError::new(outbox, stopped.to_string()))
    };
    if let (Ok(a), Ok(b)) = (outbox.canonicalize(), out.canonicalize())
        && a == b
    {
        return Err(FileError::new(out, "is the outbox itself"));
    }
    let file = WholeFile::create(out, Access::Owner, existing).map_err(of_out)?;
    let dir = PrivateDir::new().map_err(|e| of_source(OutboxErrorKind::Copy(e)))?;
    let copy = private_copy::make(outbox, dir.path()).map_err(of_source)?;
    check()?;
    pour(&copy, file.partial_path(), outbox, out)?;
    check()?;
    let done = compare(&copy, file.partial_path(), outbox, out)?;
    check()?;
    file.finish().map_err(of_out)?;
    Ok(done)
}

/// SQLite's backup of the copy into one file, which SQLite checks.
fn pour(copy: &Path, file: &Path, outbox: &Path, out: &Path) -> Result<(), FileError> {
    let of_source = |error: rusqlite::Error| FileError::new(outbox, OutboxErrorKind::from(error));
    let of_out = |error: rusqlite::Error| FileError::new(out, error);
    let from = Connection::open(copy).map_err(of_source)?;
    let mut to = Connection::open(file).map_err(of_out)?;
    let step = Backup::new(&from, &mut to).and_then(|backup| backup.step(-1));
    match step.map_err(of_source)? {
        StepResult::Done => {}
        other => {
            let what = format!("SQLite's backup ended with {other:?}");
            return Err(FileError::new(out, what));
        }
    }
    let said: String = to
        .query_row(INTEGRITY_CHECK, [], |row| row.get(0))
        .map_err(of_out)?;
    if said != "ok" {
        let said: String = said.chars().take(300).collect();
        return Err(FileError::new(outbox, OutboxErrorKind::Damaged(said)));
    }
    to.close().map_err(|(_, e)| of_out(e))?;
    from.close().map_err(|(_, e)| of_out(e))
}

/// What was written is read as any outbox is, and must say the same as its source.
fn compare(copy: &Path, file: &Path, outbox: &Path, out: &Path) -> Result<BackedUp, FileError> {
    let expected = Outbox::open(copy).map_err(|e| FileError::new(outbox, e.kind))?;
    let written = Outbox::open(file).map_err(|e| FileError::new(out, e.kind))?;
    let (a, b) = (expected.meta(), written.meta());
    if (a.outbox, a.pulled, a.quarantined, a.shape) != (b.outbox, b.pulled, b.quarantined, b.shape) {
        return Err(FileError::new(
            out,
            "the backup does not hold what the outbox holds",
        ));
    }
    let length = file.metadata().map_err(|e| FileError::new(out, e))?.len();
    Ok(BackedUp {
        outbox: outbox.to_owned(),
        backup: out.to_owned(),
        bytes: length,
        counts: b.outbox,
        pulled: b.pulled,
        quarantined: b.quarantined,
    })
}
