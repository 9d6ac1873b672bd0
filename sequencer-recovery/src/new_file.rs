//! Outputs that are opened before anything is changed: a file that cannot be written is known then, not afterwards.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::error::RecoveryError;

/// A file that was not there before, open for writing. If it is dropped without [`NewFile::keep`] it is gone again.
#[derive(Debug)]
pub struct NewFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl NewFile {
    /// Makes the file and takes `room` bytes of its disk for it, as far as the file system can promise room. Whatever
    /// has the name already (a file, a link, a device, a pipe) stays as it is.
    ///
    /// # Errors
    /// If the name is taken, its folder is not there or cannot be written, or there is no room.
    pub fn create(path: &Path, room: u64) -> Result<Self, RecoveryError> {
        let file = OpenOptions::new().write(true).create_new(true).open(path);
        let new = Self {
            path: path.to_owned(),
            file: file.map_err(|source| io_error(path, source))?,
            kept: false,
        };
        reserve(&new.file, room).map_err(|source| io_error(path, source))?;
        // The name of the file is on disk only when its folder is.
        let folder = path.parent().filter(|f| !f.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))
            .and_then(|folder| folder.sync_all())
            .map_err(|source| io_error(path, source))?;
        Ok(new)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The file stays.
    pub fn keep(&mut self) {
        self.kept = true;
    }

    /// Writes the whole content; the file stays, and is on disk when this returns.
    ///
    /// # Errors
    /// If it cannot be written. Then it is gone again.
    pub fn fill(mut self, content: &[u8]) -> Result<(), RecoveryError> {
        let mut write = || -> io::Result<()> {
            self.file.write_all(content)?;
            self.file.set_len(content.len() as u64)?;
            self.file.sync_all()
        };
        write().map_err(|source| io_error(&self.path, source))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to be told if this fails.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// An I/O error with the file that it is about.
pub(crate) fn io_error(path: &Path, source: io::Error) -> RecoveryError {
    RecoveryError::Io {
        path: path.to_owned(),
        source,
    }
}

/// Takes room on the disk, beyond the end of the file. A file system that cannot promise any is not asked twice.
#[cfg(target_os = "linux")]
fn reserve(file: &File, room: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    if room == 0 {
        return Ok(());
    }
    loop {
        return match fallocate(file, FallocateFlags::KEEP_SIZE, 0, room) {
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(()),
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: u64) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_is_there_only_if_it_was_filled() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        drop(NewFile::create(&path, 1 << 20).unwrap());
        assert!(!path.exists());
        NewFile::create(&path, 1 << 20).unwrap().fill(b"text").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
        // What is there stays.
        assert!(NewFile::create(&path, 0).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"text");
    }

    #[cfg(unix)]
    #[test]
    fn devices_and_links_are_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(folder.path().join("nowhere"), &link).unwrap();
        for path in [Path::new("/dev/full"), &link, &folder.path().join("none/out")] {
            let error = NewFile::create(path, 0).unwrap_err().to_string();
            assert!(error.starts_with(&path.display().to_string()), "{error}");
        }
        assert!(link.is_symlink() && !folder.path().join("nowhere").exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn room_that_there_is_not_is_known_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out");
        assert!(NewFile::create(&path, 1 << 55).is_err());
        assert!(!path.exists());
    }
}
