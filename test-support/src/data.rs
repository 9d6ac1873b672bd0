//! The real data that tests need: one archive in the repository, unpacked once.

use std::env;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use ruzstd::decoding::StreamingDecoder;
use sha2::{Digest as _, Sha256};

use crate::workspace_root;

/// The folder with the real data (`data/`) and the golden vectors (`vectors/`), which fixtures/data/real/README.md
/// describes. Its files are read-only and belong to all tests: copy before you change.
///
/// # Panics
/// If the archive of the repository cannot be unpacked below `target`.
#[must_use]
pub fn shared_data() -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let unpacked = || {
        let root = workspace_root();
        unpack(
            &root.join("fixtures/data/real/files.tar.zst"),
            &root.join("target/real-data"),
        )
    };
    FOLDER.get_or_init(unpacked).clone()
}

/// The folder that the archive was made from, where it is at hand: the environment variable `VES_SHARED`, or
/// `../shared` beside the workspace root.
#[must_use]
pub fn original_data() -> Option<PathBuf> {
    let folder = env::var_os("VES_SHARED").map_or_else(|| workspace_root().join("../shared"), PathBuf::from);
    folder.join("data").is_dir().then_some(folder)
}

/// The folder in `into` that holds what is in `archive`, named by the archive's hash. It is there whole or not at all,
/// also when several processes unpack it at once.
fn unpack(archive: &Path, into: &Path) -> PathBuf {
    let packed = fs::read(archive).unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    let folder = into.join(&hex::encode(Sha256::digest(&packed))[..16]);
    if folder.is_dir() {
        return folder;
    }
    fs::create_dir_all(into).unwrap_or_else(|error| panic!("{}: {error}", into.display()));
    let fresh = tempfile::Builder::new()
        .prefix(".unpacking-")
        .permissions(Permissions::from_mode(0o755))
        .tempdir_in(into)
        .expect("a folder can be made below target");
    let plain = StreamingDecoder::new(packed.as_slice()).expect("the archive is zstd");
    let mut plain = tar::Archive::new(plain);
    plain.set_preserve_permissions(true);
    plain.set_preserve_mtime(false);
    plain
        .unpack(fresh.path())
        .unwrap_or_else(|error| panic!("{}: {error}", archive.display()));
    // A folder that is not empty is not replaced: then another process was faster, with the same files.
    match fs::rename(fresh.path(), &folder) {
        Ok(()) => drop(fresh.keep()),
        Err(error) => assert!(folder.is_dir(), "{}: {error}", folder.display()),
    }
    folder
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;
    use std::panic::catch_unwind;

    use super::*;

    /// The SHA-256 of every file below a folder but those called README.md, by their paths in it.
    fn sums(folder: &Path) -> BTreeMap<String, String> {
        let (mut found, mut left) = (BTreeMap::new(), vec![folder.join("data"), folder.join("vectors")]);
        while let Some(next) = left.pop() {
            for path in fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    left.push(path);
                } else if !path.ends_with("README.md") {
                    let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
                    found.insert(name, hex::encode(Sha256::digest(fs::read(&path).unwrap())));
                }
            }
        }
        found
    }

    /// Not one file is missing, too many, or changed since: not in what tests read, nor beside where it came from.
    #[test]
    fn the_archive_is_the_real_data() {
        let listed = fs::read_to_string(workspace_root().join("fixtures/data/real/SHA256SUMS")).unwrap();
        let listed: BTreeMap<String, String> = listed
            .lines()
            .map(|line| line.split_once("  ").unwrap())
            .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
            .collect();
        assert_eq!(listed.len(), 51);
        assert_eq!(sums(&shared_data()), listed, "unpacked");
        if let Some(original) = original_data() {
            assert_eq!(
                sums(&original),
                listed,
                "{}: run scripts/real-data",
                original.display()
            );
        }
    }

    #[test]
    fn many_unpack_at_once_and_the_files_are_read_only() {
        let archive = workspace_root().join("fixtures/data/real/files.tar.zst");
        let into = tempfile::tempdir().unwrap();
        let folders: Vec<PathBuf> = std::thread::scope(|scope| {
            let unpacking = [(); 4].map(|()| scope.spawn(|| unpack(&archive, into.path())));
            unpacking.map(|thread| thread.join().unwrap()).into()
        });
        assert!(folders.iter().all(|folder| *folder == folders[0]));
        assert_eq!(sums(&folders[0]), sums(&shared_data()));
        let mode = |name: &str| fs::metadata(folders[0].join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode("data/scenario-1/outboxes/delta.db-wal"), 0o444);
        assert_eq!(
            fs::read_dir(into.path()).unwrap().count(),
            1,
            "nothing half is left"
        );
    }

    #[test]
    fn a_cut_archive_leaves_nothing_and_another_one_is_another_folder() {
        let whole = fs::read(workspace_root().join("fixtures/data/real/files.tar.zst")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let (cut, into) = (dir.path().join("cut.tar.zst"), dir.path().join("into"));
        fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
        assert!(catch_unwind(|| unpack(&cut, &into)).is_err());
        assert_eq!(fs::read_dir(&into).unwrap().count(), 0);
        // A frame that is skipped changes the hash and not the files.
        fs::write(&cut, [whole.as_slice(), b"\x50\x2a\x4d\x18\x00\0\0\0"].concat()).unwrap();
        let other = unpack(&cut, &into);
        assert_ne!(other.file_name(), shared_data().file_name());
        assert_eq!(sums(&other), sums(&shared_data()));
    }
}
