//! Output files that get their name when they are whole, and take nobody else's.

use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Access, partial_file};

/// What becomes of a file that has the name already. A folder, link, pipe, socket or device is never replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    Keep,
    /// It is replaced, once the new one is whole and on disk.
    Replace,
}

impl Existing {
    /// By a `--force` of the command line.
    #[must_use]
    pub fn replaced_if(force: bool) -> Self {
        if force { Self::Replace } else { Self::Keep }
    }
}

/// A file being written. It appears under its name, whole and on disk, with [`WholeFile::finish`]; until then it lies
/// beside it under another, and dropping it removes that.
#[derive(Debug)]
pub struct WholeFile {
    file: NamedTempFile,
    path: PathBuf,
    existing: Existing,
}

impl WholeFile {
    /// Begins a file that will have this name.
    ///
    /// # Errors
    /// As [`WholeFile::check`], or the folder cannot be written to.
    pub fn create(path: &Path, access: Access, existing: Existing) -> io::Result<Self> {
        Self::check(path, existing)?;
        Ok(Self {
            file: partial_file(path, access)?,
            path: path.to_owned(),
            existing,
        })
    }

    /// Looks whether a file may get this name.
    ///
    /// # Errors
    /// A file that is to stay has it (`AlreadyExists`), or something that is no regular file (`InvalidInput`).
    pub fn check(path: &Path, existing: Existing) -> io::Result<()> {
        let Ok(meta) = path.symlink_metadata() else {
            return Ok(());
        };
        if !meta.is_file() {
            let what = format!("is {}, which is never replaced by a file", kind(&meta));
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        match existing {
            Existing::Keep => {
                let what = "the file exists already";
                Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
            }
            Existing::Replace => Ok(()),
        }
    }

    /// The file as it is now.
    #[must_use]
    pub fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Where it lies now.
    #[must_use]
    pub fn partial_path(&self) -> &Path {
        self.file.path()
    }

    /// Writes it to disk and gives it its name.
    ///
    /// # Errors
    /// The disk fails, or the name was taken meanwhile; then what has the name stays.
    pub fn finish(self) -> io::Result<()> {
        self.file.as_file().sync_all()?;
        Self::check(&self.path, self.existing)?;
        match self.existing {
            Existing::Keep => self.file.persist_noclobber(&self.path),
            Existing::Replace => self.file.persist(&self.path),
        }
        .map_err(|error| error.error)?;
        File::open(folder(&self.path))?.sync_all()
    }
}

impl Write for WholeFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// The folder that a file is in.
fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// What is there, in words.
fn kind(meta: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        let kind = meta.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
    }
    if meta.is_dir() {
        "a folder"
    } else if meta.is_symlink() {
        "a link"
    } else {
        "no regular file"
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::{FileTypeExt as _, symlink};

    use super::*;

    fn write(path: &Path, existing: Existing) -> io::Result<()> {
        let mut file = WholeFile::create(path, Access::Owner, existing)?;
        file.write_all(b"new")?;
        file.finish()
    }

    #[test]
    fn a_file_is_replaced_only_if_that_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        write(&path, Existing::Keep).unwrap();
        fs::write(&path, "old").unwrap();
        let kept = write(&path, Existing::Keep).unwrap_err();
        assert_eq!(kept.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        write(&path, Existing::Replace).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_stays_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        for existing in [Existing::Keep, Existing::Replace] {
            let file = WholeFile::create(&path, Access::Owner, existing).unwrap();
            symlink("elsewhere", &path).unwrap();
            assert!(file.finish().is_err());
            assert!(path.is_symlink());
            fs::remove_file(&path).unwrap();
        }
    }

    #[test]
    fn what_is_no_regular_file_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let made = std::process::Command::new("mkfifo").arg(at("pipe")).status();
        assert!(made.unwrap().success());
        fs::create_dir(at("folder")).unwrap();
        fs::write(at("file"), "old").unwrap();
        symlink(at("file"), at("link")).unwrap();
        symlink(at("nowhere"), at("dangling")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        let kinds = [
            ("pipe", "a pipe"),
            ("folder", "a folder"),
            ("link", "a link"),
            ("dangling", "a link"),
            ("socket", "a socket"),
            ("/dev/full", "a device"),
        ];
        for (name, kind) in kinds {
            for existing in [Existing::Keep, Existing::Replace] {
                let error = write(&at(name), existing).unwrap_err().to_string();
                assert!(error.contains(kind), "{name}: {error}");
            }
        }
        assert!(at("pipe").metadata().unwrap().file_type().is_fifo());
        assert!(
            Path::new("/dev/full")
                .metadata()
                .unwrap()
                .file_type()
                .is_char_device()
        );
        assert_eq!(fs::read(at("file")).unwrap(), b"old");
        assert!(at("link").is_symlink() && !at("nowhere").exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 6);
    }
}
