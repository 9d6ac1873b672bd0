//! Small files that a command remembers things in: read and written as a whole, by one run at a time.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use cli_common::{Access, Existing, WholeFile, files};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::RecoveryError;
use crate::new_file::io_error;

/// The largest that is read, in bytes.
const MAX_FILE: u64 = 1 << 30;

/// A file that this run alone uses, for as long as the value lives. The lock is on a file beside it, since the file itself
/// is replaced whenever it is written.
#[derive(Debug)]
pub struct LockedFile {
    path: PathBuf,
    _lock: File,
}

impl LockedFile {
    /// Takes the lock. The file need not be there yet.
    ///
    /// # Errors
    /// [`RecoveryError::InUse`] if another run has it; the folder cannot be written; the name is that of something that is
    /// no regular file.
    pub fn open(path: &Path) -> Result<Self, RecoveryError> {
        WholeFile::check(path, Existing::Replace).map_err(|e| io_error(path, e))?;
        let mut beside = path.to_owned().into_os_string();
        beside.push(".lock");
        let beside = PathBuf::from(beside);
        WholeFile::check(&beside, Existing::Replace).map_err(|e| io_error(&beside, e))?;
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&beside)
            .map_err(|e| io_error(&beside, e))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(RecoveryError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(e)) => return Err(io_error(&beside, e)),
        }
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds; nothing if there is no such file.
    ///
    /// # Errors
    /// It cannot be read, or is not a document of this schema.
    pub fn read<T: DeserializeOwned>(&self, schema: &str) -> Result<Option<T>, RecoveryError> {
        #[derive(Deserialize)]
        struct Named {
            schema: String,
        }
        let text = match files::read_text(&self.path, MAX_FILE) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io_error(&self.path, e)),
        };
        let refused = |what: String| RecoveryError::Notes {
            path: self.path.clone(),
            what,
        };
        let named: Named =
            serde_json::from_str(&text).map_err(|e| refused(format!("cannot be read: {e}")))?;
        if named.schema != schema {
            return Err(refused(format!("is a {:?}, not a {schema:?}", named.schema)));
        }
        let read = serde_json::from_str(&text).map_err(|e| refused(format!("cannot be read: {e}")))?;
        Ok(Some(read))
    }

    /// Writes it. It is on disk, whole, when this returns; if it fails, what was there is there still.
    ///
    /// # Errors
    /// The disk fails.
    pub fn write(&self, document: &impl Serialize) -> Result<(), RecoveryError> {
        let write = || -> std::io::Result<()> {
            let mut file = WholeFile::create(&self.path, Access::Owner, Existing::Replace)?;
            let mut json = serde_json::to_vec(document)?;
            json.push(b'\n');
            file.write_all(&json)?;
            file.finish()
        };
        write().map_err(|e| io_error(&self.path, e))
    }
}
