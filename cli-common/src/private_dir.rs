//! A folder for a private copy: it goes with the value, with the process that a signal ends, or with a later run if this
//! one is killed.
//!
//! Nothing is removed by a program that was killed. So a folder holds a file that is locked for as long as its owner lives,
//! and the first folder that a process makes is the occasion to remove others of the same user whose lock is free.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Once;

use tempfile::TempDir;

use crate::leftovers;

/// What the folders' names begin with.
const PREFIX: &str = "ves-private-";
/// The file that its owner keeps locked. It gets this name when it is locked, never before.
const OWNER: &str = "ves.owner";

/// A folder that only its owner may enter.
#[derive(Debug)]
pub struct PrivateDir {
    // Removed before the lock is free.
    dir: TempDir,
    _lock: Option<File>,
}

impl PrivateDir {
    /// Makes a folder in the system's temporary folder.
    ///
    /// # Errors
    /// There is no room, or no right to.
    pub fn new() -> io::Result<Self> {
        static FIRST: Once = Once::new();

        let dir = Self::new_in(&std::env::temp_dir())?;
        FIRST.call_once(|| {
            // What cannot be removed now is there for others.
            let _ = remove_abandoned(dir.path());
        });
        Ok(dir)
    }

    fn new_in(parent: &Path) -> io::Result<Self> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(PREFIX);
        let dir = leftovers::noted(|| builder.tempdir_in(parent), TempDir::path)?;
        let lock = lock(dir.path());
        Ok(Self { dir, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// A file in the folder that is locked; `None` where files cannot be locked, and then the folder is nobody's to remove.
#[cfg(unix)]
fn lock(dir: &Path) -> Option<File> {
    let making = dir.join("ves.owner.making");
    let file = File::create_new(&making).ok()?;
    file.try_lock().ok()?;
    fs::rename(making, dir.join(OWNER)).ok()?;
    Some(file)
}

// Elsewhere an open file keeps its folder from being removed.
#[cfg(not(unix))]
fn lock(_: &Path) -> Option<File> {
    None
}

/// Removes the folders beside this one that were made in the same way, by the same user, and whose owners are gone.
#[cfg(unix)]
fn remove_abandoned(ours: &Path) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;

    let user = ours.symlink_metadata()?.uid();
    let Some(parent) = ours.parent() else {
        return Ok(());
    };
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let named = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes());
        // Not through links.
        if !named
            || !entry
                .metadata()
                .is_ok_and(|meta| meta.is_dir() && meta.uid() == user)
        {
            continue;
        }
        if let Ok(owner) = File::open(entry.path().join(OWNER))
            && owner.try_lock().is_ok()
        {
            // Another process may be about to do the same.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Ok(())
}

#[cfg(not(unix))]
fn remove_abandoned(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn folders_whose_owners_are_gone_are_removed_and_no_others() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| parent.path().join(name);
        let living = PrivateDir::new_in(parent.path()).unwrap();
        let ours = PrivateDir::new_in(parent.path()).unwrap();
        for name in [
            "ves-private-abandoned",
            "ves-private-of-others",
            "other-abandoned",
            "elsewhere",
        ] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("copy.db"), "a copy").unwrap();
        }
        for name in ["ves-private-abandoned", "other-abandoned", "elsewhere"] {
            fs::write(at(name).join(OWNER), "").unwrap();
        }
        fs::write(at("ves-private-of-others").join("ves.owner.making"), "").unwrap();
        fs::write(at("ves-private-file"), "").unwrap();
        std::os::unix::fs::symlink(at("elsewhere"), at("ves-private-link")).unwrap();

        remove_abandoned(ours.path()).unwrap();
        for (name, stays) in [
            ("ves-private-abandoned", false),
            ("ves-private-of-others", true),
            ("other-abandoned", true),
            ("elsewhere/copy.db", true),
            ("ves-private-link", true),
            ("ves-private-file", true),
        ] {
            assert_eq!(at(name).symlink_metadata().is_ok(), stays, "{name}");
        }
        let (a, b) = (living.path().to_owned(), ours.path().to_owned());
        assert!(a.join(OWNER).exists() && b.join(OWNER).exists());
        drop((living, ours));
        assert!(!a.exists() && !b.exists());
    }
}
