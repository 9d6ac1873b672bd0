//! Files that are there as a whole or not at all, of which a killed run leaves nothing for long.

use std::fs::{self, File};
use std::io;
use std::path::Path;
#[cfg(unix)]
use std::path::PathBuf;

use tempfile::NamedTempFile;

use crate::leftovers;

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner alone.
    Owner,
    /// Whom the umask lets.
    Others,
}

/// What every such file has in its name; nobody else's has.
const MARK: &str = ".ves-partial-";

/// A file in which `path` can be written, to be put in its place (`persist`) when it is whole. It lies beside it and is
/// gone with the value, or when a signal ends the process. If the program is killed before, the next run that writes something to that folder removes it: it is
/// locked for as long as somebody works on it.
///
/// # Errors
/// The folder cannot be written to; the error names the file.
pub fn partial_file(path: &Path, access: Access) -> io::Result<NamedTempFile> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let prefix = prefix(path);
    loop {
        let mut builder = tempfile::Builder::new();
        #[cfg(unix)]
        if access == Access::Others {
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(fs::Permissions::from_mode(0o666));
        }
        builder.prefix(&prefix);
        let file = leftovers::noted(|| builder.tempfile_in(folder), NamedTempFile::path)?;
        // Where files cannot be locked nobody removes them either.
        let _ = file.as_file().try_lock();
        // Another run may have taken it for abandoned before it was locked.
        if file.path().exists() {
            // What cannot be removed now is there for others.
            let _ = remove_abandoned(file.as_file(), folder);
            return Ok(file);
        }
    }
}

/// What the names of such files begin with.
fn prefix(path: &Path) -> String {
    let name = path
        .file_name()
        .map(|name| name.to_string_lossy())
        .unwrap_or_default();
    let name: String = name.chars().take(48).collect();
    format!(".{name}{MARK}")
}

/// Removes such files that are the same user's as ours, and that nobody works on.
#[cfg(unix)]
fn remove_abandoned(ours: &File, folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let user = ours.metadata()?.uid();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let named = name.starts_with('.') && name.contains(MARK);
        // Not through links.
        if !named
            || !entry
                .metadata()
                .is_ok_and(|meta| meta.is_file() && meta.uid() == user)
        {
            continue;
        }
        if File::open(locked(&entry.path())).is_ok_and(|file| file.try_lock().is_ok()) {
            // Another process may be about to do the same.
            let _ = fs::remove_file(entry.path());
        }
    }
    Ok(())
}

/// The file whose lock tells whether somebody works on this one: itself, or the database that it lies beside.
#[cfg(unix)]
fn locked(path: &Path) -> PathBuf {
    let name = path.as_os_str().to_string_lossy();
    let database = ["-journal", "-wal", "-shm"]
        .into_iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .map(PathBuf::from);
    database
        .filter(|database| database.exists())
        .unwrap_or_else(|| path.to_owned())
}

// Elsewhere an open file cannot be removed, and files are not locked for that.
#[cfg(not(unix))]
fn remove_abandoned(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_run_left_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("report.json");
        let at_work = partial_file(&out, Access::Owner).unwrap();
        for name in [
            ".report.json.ves-partial-left",
            ".report.json.partial-1",
            "report.json",
            ".report.json",
            ".other.json.ves-partial-left",
        ] {
            fs::write(dir.path().join(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(
            dir.path().join("report.json"),
            dir.path().join(".report.json.ves-partial-link"),
        )
        .unwrap();
        let second = partial_file(&out, Access::Others).unwrap();
        let there = |name: &str| dir.path().join(name).symlink_metadata().is_ok();
        assert!(!there(".report.json.ves-partial-left"));
        for name in [
            ".report.json.partial-1",
            "report.json",
            ".report.json",
            ".report.json.ves-partial-link",
        ] {
            assert!(there(name), "{name}");
        }
        assert!(at_work.path().exists() && second.path().exists());
        second.persist(&out).unwrap();
        drop(at_work);
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(left, 4, "only what was there");
    }

    #[test]
    fn the_error_names_the_place() {
        let error = partial_file(Path::new("/nowhere/at/all/x"), Access::Owner).unwrap_err();
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
