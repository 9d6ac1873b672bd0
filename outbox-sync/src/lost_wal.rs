//! Is there a WAL that belongs to a database and is not beside it?
//!
//! In WAL mode the newest events are in NAME-wal until they are moved into the file. A copy of the file alone, a copy under
//! another name or another link to it leaves them behind. A database that its program closed well has no `-wal` either,
//! so only the wal-index that was left behind, or another name of the file, speaks of one.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::private_copy;

/// What is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LostWal {
    /// Nothing is lost.
    No,
    /// There was one if the file was copied while it was in use.
    Possible,
    /// There was one.
    Certain(String),
}

/// Looks at a database and what lies beside it.
pub(crate) fn look(database: &Path) -> LostWal {
    let Ok(source) = database.canonicalize() else {
        return LostWal::No;
    };
    // What is wrong with the file itself, reading it says.
    let Ok(header) = private_copy::read_header(&source) else {
        return LostWal::No;
    };
    let wal = private_copy::beside(&source, "-wal");
    if !private_copy::is_wal_mode(&header) || wal.symlink_metadata().is_ok() {
        return LostWal::No;
    }
    match index(&private_copy::beside(&source, "-shm")) {
        Some((frames, moved)) if frames > moved => LostWal::Certain(format!(
            "is missing: the wal-index beside the database counts {} page(s) that are in the -wal alone. Find it",
            frames - moved
        )),
        // All of it had been moved into the file.
        Some((frames, _)) if frames > 0 => LostWal::No,
        _ => LostWal::Possible,
    }
}

/// How many frames a wal-index counts, and how many of them were moved into the database.
/// <https://sqlite.org/walformat.html#the_wal_index_file_format>
fn index(shm: &Path) -> Option<(u32, u32)> {
    let mut start = [0; 100];
    let meta = shm.symlink_metadata().ok()?;
    if !meta.is_file() {
        return None;
    }
    File::open(shm).ok()?.read_exact(&mut start).ok()?;
    // It is of the machine that wrote it.
    let number = |at: usize| u32::from_ne_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]);
    (number(0) == 3_007_000 && start[12] == 1).then(|| (number(16), number(96)))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn a_wal_that_was_left_behind_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let live = Connection::open(at("live.db")).unwrap();
        live.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);")
            .unwrap();
        assert_eq!(look(&at("live.db")), LostWal::No);
        std::fs::copy(at("live.db"), at("copy.db")).unwrap();
        assert_eq!(look(&at("copy.db")), LostWal::Possible);
        std::fs::copy(at("live.db-shm"), at("copy.db-shm")).unwrap();
        assert!(matches!(look(&at("copy.db")), LostWal::Certain(_)));
        // All of it in the file: then only the WAL's name is gone.
        live.execute_batch("PRAGMA wal_checkpoint(FULL);").unwrap();
        std::fs::copy(at("live.db"), at("moved.db")).unwrap();
        std::fs::copy(at("live.db-shm"), at("moved.db-shm")).unwrap();
        assert_eq!(look(&at("moved.db")), LostWal::No);
        drop(live);
        assert_eq!(look(&at("live.db")), LostWal::Possible);
        Connection::open(at("plain.db"))
            .unwrap()
            .execute_batch("CREATE TABLE t (a);")
            .unwrap();
        assert_eq!(look(&at("plain.db")), LostWal::No);
    }
}
