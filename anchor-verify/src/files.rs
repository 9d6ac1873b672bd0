//! Files that are there as a whole or not at all, and replace nothing that nobody asked to have replaced.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use cli_common::{Access, partial_file};

/// What becomes of a file that has the name of the one to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays, and nothing is written.
    Keep,
    /// It is replaced. Devices, pipes, links and folders are not.
    Replace,
}

/// Whether a file may be written there, before the work that makes it.
///
/// # Errors
/// There is something that may not be replaced: [`io::ErrorKind::AlreadyExists`] for a plain file.
pub fn may_write(path: &Path, existing: Existing) -> io::Result<()> {
    let kind = match path.symlink_metadata() {
        Ok(meta) => meta.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    match existing {
        Existing::Replace if kind.is_file() => Ok(()),
        Existing::Keep if kind.is_file() => Err(io::ErrorKind::AlreadyExists.into()),
        _ => {
            let what = match (kind.is_dir(), kind.is_symlink()) {
                (true, _) => "a folder",
                (_, true) => "a link",
                _ => "a device or a pipe",
            };
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is {what}, and only plain files are replaced"),
            ))
        }
    }
}

/// Writes a file whole; if that fails, what was there is still there.
pub(crate) fn write_whole<T>(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<T>,
) -> io::Result<T> {
    may_write(path, existing)?;
    // Nothing in it is secret.
    let mut temporary = partial_file(path, Access::Others)?;
    let mut out = BufWriter::new(temporary.as_file_mut());
    let result = write(&mut out)?;
    out.flush()?;
    drop(out);
    temporary.as_file().sync_all()?;
    // Somebody may have put something there meanwhile.
    may_write(path, existing)?;
    let placed = match existing {
        Existing::Keep => temporary.persist_noclobber(path),
        Existing::Replace => temporary.persist(path),
    };
    placed.map_err(|e| e.error)?;
    sync_folder(path);
    Ok(result)
}

/// Writes a text whole, or not at all.
///
/// # Errors
/// It cannot be written, or something is there that may not be replaced; what was there is still there.
pub fn write_text(path: &Path, text: &str, existing: Existing) -> io::Result<()> {
    write_whole(path, existing, |out| out.write_all(text.as_bytes()))
}

/// Makes the name last, where folders can be synced. The file is there whatever comes of it.
fn sync_folder(path: &Path) {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_there_stays_unless_it_is_a_plain_file_to_be_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let write = |path: &Path, existing, text: &str| {
            write_whole(path, existing, |out| out.write_all(text.as_bytes()))
        };
        write(&path, Existing::Keep, "one").unwrap();
        let error = write(&path, Existing::Keep, "two").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        write(&path, Existing::Replace, "two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert!(write(dir.path(), Existing::Replace, "three").is_err());
        #[cfg(unix)]
        {
            let link = dir.path().join("link");
            std::os::unix::fs::symlink(&path, &link).unwrap();
            let dangling = dir.path().join("dangling");
            std::os::unix::fs::symlink(dir.path().join("nowhere"), &dangling).unwrap();
            for other in [link.as_path(), &dangling, Path::new("/dev/full")] {
                for existing in [Existing::Keep, Existing::Replace] {
                    assert!(write(other, existing, "three").is_err(), "{other:?}");
                }
            }
            assert!(link.symlink_metadata().unwrap().is_symlink());
            assert!(!dir.path().join("nowhere").exists());
        }
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let partial = |name: &str| name.contains("partial");
        let left = fs::read_dir(dir.path()).unwrap();
        assert!(
            !left
                .flatten()
                .any(|entry| partial(&entry.file_name().to_string_lossy()))
        );
    }
}
