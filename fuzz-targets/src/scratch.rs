//! Bytes as a file, for what reads files.

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

thread_local! {
    /// A folder of this thread, gone with it.
    static FOLDER: OnceCell<TempDir> = const { OnceCell::new() };
}

/// Where this thread's scratch files are.
pub(crate) fn folder() -> PathBuf {
    FOLDER.with(|folder| {
        let folder = folder.get_or_init(|| TempDir::new().expect("a folder for scratch files"));
        folder.path().to_owned()
    })
}

/// A file of this thread with these bytes, in place of the one before of that name.
pub(crate) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("a scratch file");
    path
}

/// Removes a scratch file, if it is there, with what databases and writers put beside it.
pub(crate) fn remove(path: &Path) {
    for beside in ["", "-wal", "-shm", "-journal", ".manifest.json", ".lock"] {
        let mut name = path.as_os_str().to_owned();
        name.push(beside);
        let _ = fs::remove_file(name);
    }
}
