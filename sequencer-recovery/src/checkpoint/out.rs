//! Where checkpoints go: one file, or a folder with one for each stream. One run at a time writes there.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use checkpoints::file::{Appender, EXTENSION, Entry, EntryReader, Located, files_of};
use sha2::{Digest as _, Sha256};
use ves::{Hash32, StreamKey};

use super::state::ReadUpTo;
use crate::error::RecoveryError;
use crate::new_file::io_error;

/// So many bytes before a mark are hashed.
const BEFORE: u64 = 4096;

/// A file or a folder that this run alone adds checkpoints to.
#[derive(Debug)]
pub struct Out {
    path: PathBuf,
    of: Kind,
}

#[derive(Debug)]
enum Kind {
    File(Appender),
    Folder { _lock: File },
}

impl Out {
    /// Takes a folder if there is one of the name, or the name ends with a slash; else a file. What is not there is made.
    ///
    /// # Errors
    /// It cannot be written to; [`RecoveryError::InUse`] if another run adds to it.
    pub fn open(path: &Path) -> Result<Self, RecoveryError> {
        let folder = path.is_dir() || path.as_os_str().as_encoded_bytes().ends_with(b"/");
        let of = if folder {
            fs::create_dir_all(path).map_err(|e| io_error(path, e))?;
            let lock = path.join(".lock");
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .open(&lock)
                .map_err(|e| io_error(&lock, e))?;
            match file.try_lock() {
                Ok(()) => Kind::Folder { _lock: file },
                Err(TryLockError::WouldBlock) => return Err(in_use(path)),
                Err(TryLockError::Error(e)) => return Err(io_error(&lock, e)),
            }
        } else {
            Kind::File(open(path)?)
        };
        let path = path.to_owned();
        Ok(Self { path, of })
    }

    /// The name of the file that a stream's checkpoints go to: empty if all go to one.
    pub fn file_of(&self, stream: &StreamKey) -> String {
        match self.of {
            Kind::File(_) => String::new(),
            Kind::Folder { .. } => format!("{}.{}.{EXTENSION}", stream.tenant_id, stream.store_id),
        }
    }

    /// The files of checkpoints that there are.
    ///
    /// # Errors
    /// The folder cannot be listed.
    pub fn files(&self) -> Result<Vec<String>, RecoveryError> {
        if matches!(self.of, Kind::File(_)) {
            return Ok(vec![String::new()]);
        }
        let files = files_of(&self.path).map_err(|e| io_error(&self.path, e))?;
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(files.iter().filter_map(name).collect())
    }

    fn path_of(&self, name: &str) -> PathBuf {
        match self.of {
            Kind::File(_) => self.path.clone(),
            Kind::Folder { .. } => self.path.join(name),
        }
    }

    /// Reads a file's entries behind the mark, or all of them if it is not the file that the mark is of. Gives the new
    /// mark, and whether all were read.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(
        &self,
        name: &str,
        mark: Option<&ReadUpTo>,
        each: &mut dyn FnMut(Located),
    ) -> Result<(ReadUpTo, bool), RecoveryError> {
        let path = self.path_of(name);
        let mut read = || -> io::Result<(ReadUpTo, bool)> {
            let mut file = File::open(&path)?;
            let known = match mark {
                Some(mark) if mark.offset > 0 => mark_at(&mut file, mark.offset)?.as_ref() == Some(mark),
                _ => false,
            };
            let offset = mark.filter(|_| known).map_or(0, |mark| mark.offset);
            file.seek(SeekFrom::Start(offset))?;
            let mut reader = EntryReader::new(BufReader::with_capacity(1 << 18, &file), offset);
            while let Some(located) = reader.next_entry()? {
                each(located);
            }
            let end = reader.offset();
            let mark = mark_at(&mut file, end)?.ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok((mark, !known))
        };
        read().map_err(|e| io_error(&path, e))
    }

    /// Adds entries to a file, and waits until they are on disk. Gives the mark behind them.
    ///
    /// # Errors
    /// They could not be written.
    pub fn append(&mut self, name: &str, entries: &[Entry]) -> Result<ReadUpTo, RecoveryError> {
        let path = self.path_of(name);
        let failed = |e| io_error(&path, e);
        match &mut self.of {
            Kind::File(appender) => appender.append(entries),
            Kind::Folder { .. } => open(&path)?.append(entries),
        }
        .map_err(failed)?;
        let mut file = File::open(&path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mark = mark_at(&mut file, length).map_err(failed)?;
        mark.ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))
    }
}

fn in_use(path: &Path) -> RecoveryError {
    RecoveryError::InUse {
        path: path.to_owned(),
    }
}

fn open(path: &Path) -> Result<Appender, RecoveryError> {
    let is_new = !path.exists();
    let appender = Appender::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::WouldBlock => in_use(path),
        _ => io_error(path, e),
    })?;
    if is_new {
        // The name of the file is on disk only when its folder is.
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        let synced = File::open(folder.unwrap_or(Path::new("."))).and_then(|folder| folder.sync_all());
        synced.map_err(|e| io_error(path, e))?;
    }
    Ok(appender)
}

/// The mark at an offset; nothing if the file is shorter.
fn mark_at(file: &mut File, offset: u64) -> io::Result<Option<ReadUpTo>> {
    if file.metadata()?.len() < offset {
        return Ok(None);
    }
    let from = offset.saturating_sub(BEFORE);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(offset - from).read_to_end(&mut bytes)?;
    let before = Hash32(Sha256::digest(&bytes).into());
    Ok(Some(ReadUpTo { offset, before }))
}
