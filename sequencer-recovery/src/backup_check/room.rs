//! Whether there is room for what is to be restored, and how much a folder takes.

use std::fs;
use std::path::Path;

use super::failure::CheckFailure;

/// So much must be free beside what is restored: WAL that is replayed, a server's own files.
const BESIDE: u64 = 256 << 20;

/// So deep are folders of clusters at most.
const DEEPEST: usize = 32;

/// Refuses to begin what will not fit.
///
/// # Errors
/// [`CheckFailure::NoRoom`].
pub(super) fn check(scratch: Option<&Path>, wanted: u64) -> Result<(), CheckFailure> {
    let temp = std::env::temp_dir();
    let folder = scratch.unwrap_or(&temp);
    let stat = rustix::fs::statvfs(folder).map_err(|error| CheckFailure::io(folder)(error.into()))?;
    fits(folder, stat.f_bavail.saturating_mul(stat.f_frsize), wanted)
}

fn fits(folder: &Path, free: u64, wanted: u64) -> Result<(), CheckFailure> {
    let wanted = wanted.saturating_add(BESIDE);
    if free >= wanted {
        return Ok(());
    }
    let what = format!(
        "there is no room in {}: {} MiB are free, and restoring the backup takes about {} MiB",
        folder.display(),
        free >> 20,
        wanted >> 20
    );
    Err(CheckFailure::NoRoom { what })
}

/// How many bytes the files of a folder have.
pub(super) fn size_of(path: &Path) -> std::io::Result<u64> {
    fn sum(path: &Path, depth: usize) -> std::io::Result<u64> {
        let meta = path.symlink_metadata()?;
        if !meta.is_dir() || depth == 0 {
            return Ok(meta.len());
        }
        fs::read_dir(path)?.try_fold(0_u64, |so_far, entry| {
            Ok(so_far.saturating_add(sum(&entry?.path(), depth - 1)?))
        })
    }
    sum(path, DEEPEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let folder = Path::new("/somewhere");
        assert!(fits(folder, BESIDE + 10, 10).is_ok());
        let full = fits(folder, BESIDE + 9, 10).unwrap_err().to_string();
        assert!(full.contains("/somewhere") && full.contains("256 MiB"), "{full}");
        assert!(fits(folder, u64::MAX - 1, u64::MAX).is_err());
        assert!(check(None, u64::MAX).is_err());
    }

    #[test]
    fn a_folder_takes_what_its_files_take() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("a")).unwrap();
        fs::write(folder.path().join("a/b"), [0; 5000]).unwrap();
        assert!(size_of(folder.path()).unwrap() >= 5000);
    }
}
