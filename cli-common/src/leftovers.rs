//! Temporary files and folders of this process, so that one that ends at once leaves none of them behind.
//!
//! A value that owns one removes it when it is dropped; a process that is ended by a second signal drops nothing. What is
//! noted here is removed then. (After `kill -9` the next run removes what nobody holds a lock on.)

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// From so many on, those that are gone are forgotten when another one is made.
const MANY: usize = 64;
/// Other threads may still write to a folder while it is being removed.
const TRIES: usize = 20;
/// What SQLite puts beside a database.
const COMPANIONS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// Makes a temporary file or folder and notes it. Its name must never be used again for something else: then it does no
/// harm that it is noted for longer than it is there.
pub(crate) fn noted<T>(make: impl FnOnce() -> io::Result<T>, path: impl Fn(&T) -> &Path) -> io::Result<T> {
    let mut all = lock();
    let made = make()?;
    if all.len() >= MANY {
        all.retain(|path| path.symlink_metadata().is_ok());
    }
    all.push(path(&made).to_owned());
    Ok(made)
}

/// Removes all that is noted and still there. Nothing is made any more afterwards: the process is about to end.
pub(crate) fn remove_all() {
    let all = lock();
    for path in all.iter() {
        for _ in 0..TRIES {
            let removed = match path.symlink_metadata() {
                Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
                Ok(_) => fs::remove_file(path),
                Err(_) => break,
            };
            if removed.is_ok() {
                break;
            }
        }
        for suffix in COMPANIONS {
            let mut beside = path.as_os_str().to_owned();
            beside.push(suffix);
            // Hardly ever there.
            let _ = fs::remove_file(beside);
        }
    }
    std::mem::forget(all);
}

fn lock() -> MutexGuard<'static, Vec<PathBuf>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}
