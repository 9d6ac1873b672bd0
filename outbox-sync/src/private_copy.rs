//! A consistent private copy of an SQLite file that others may be writing to.
//!
//! Opening a file in WAL mode with SQLite creates or changes its `-shm` and may recover or checkpoint
//! its `-wal`; a journal left behind is rolled back into the file. An outbox after a disaster is
//! evidence, so none of that may happen to it: it happens to a copy.
//!
//! How a copy is consistent depends on how the file is written:
//! - **WAL mode, with a `-wal`**: the database file first, then the WAL. A page that a checkpoint moved
//!   into the file meanwhile is also in the WAL, which comes later and wins, unless the WAL was started
//!   anew meanwhile; then its header (the salts) changed, and the copy is made again. A writer that only
//!   appends does not disturb. An agent that opens, writes and closes starts its WAL anew each time: closing moves the
//!   WAL into the file and removes it, which takes an exclusive lock. So from the second attempt on a shared lock is put on
//!   the file, with which the WAL stays and grows; the agent waits for nothing.
//! - **Rollback mode**: the bytes are copied without any lock, so that the agent does not wait even if this program is
//!   halted meanwhile. Whether somebody committed is asked before and after, by a read-only connection that takes the lock of a
//!   reader for that moment alone. If a writer never rests for long enough, SQLite's own backup, which keeps that lock.
//!   Neither touches a file. A writer that excludes readers is waited for, then reported.
//! - **Rollback mode with a journal of a crashed writer, or WAL mode without a `-wal`**: nobody writes, so the bytes
//!   are copied and then compared with the file once more. If they are equal, then at the moment between
//!   the two passes the files were exactly the copy.
//!
//! A process must not call this on a file that it has open through SQLite itself: closing any handle of
//! a file drops the process's POSIX locks on it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use crate::error::OutboxErrorKind;

/// How often a copy is tried while the file changes under it.
const ATTEMPTS: u32 = 5;
/// How long to wait for a writer that excludes readers.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(2);
/// How often a copy is tried without a lock.
const UNLOCKED_ATTEMPTS: u32 = 3;
const DATA_VERSION: &str = include_str!("../../sql/outbox-sync/data_version.sql");
/// Between attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// The first 100 bytes of every SQLite file.
pub(crate) const HEADER: usize = 100;
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// A WAL starts with 32 bytes: magic, version, page size, checkpoint number, two salts, checksum.
const WAL_HEADER: usize = 32;
/// The last bytes of a journal that names a super-journal.
const SUPER_JOURNAL_MAGIC: [u8; 8] = [0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7];

/// Copies the database at `path` into `dir` and returns the copy's path.
pub(crate) fn make(path: &Path, dir: &Path) -> Result<PathBuf, OutboxErrorKind> {
    // SQLite puts -wal and -journal beside the file that a link points to.
    let source = path.canonicalize().map_err(OutboxErrorKind::Io)?;
    let copy = dir.join("copy.db");
    // Held to the end: between two attempts the WAL would go, and be new at the next.
    let mut kept = None;
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        for suffix in ["", "-wal", "-shm", "-journal"] {
            remove(&beside(&copy, suffix))?;
        }
        if attempt > 0 && kept.is_none() {
            kept = kept_wal(&source)?;
        }
        let copied = match &kept {
            Some(file) => copy_kept(file, &source, &copy)?,
            None => attempt_copy(&source, &copy)?,
        };
        if copied {
            return Ok(copy);
        }
    }
    Err(OutboxErrorKind::Busy { attempts: ATTEMPTS })
}

/// The file with a shared lock on it, if it is in WAL mode. The lock ends with the handle.
/// POSIX locks end with **any** handle of the file that the process closes: nothing else may open it meanwhile.
fn kept_wal(source: &Path) -> Result<Option<File>, OutboxErrorKind> {
    if !is_wal_mode(&read_header(source)?) {
        return Ok(None);
    }
    let mut file = File::open(source).map_err(OutboxErrorKind::Io)?;
    if !lock_shared(&file) {
        return Ok(None);
    }
    // The mode may have changed before the lock.
    let mut header = [0; HEADER];
    let n = read_full(&mut file, &mut header).map_err(OutboxErrorKind::Io)?;
    Ok((n == HEADER && is_wal_mode(&header)).then_some(file))
}

/// One attempt at a file in WAL mode that is held by a shared lock; `false` if its WAL was started anew. Without a WAL
/// before and after nobody wrote: a writer makes one first, and cannot remove it.
fn copy_kept(file: &File, source: &Path, copy: &Path) -> Result<bool, OutboxErrorKind> {
    // Another handle of the file that was closed meanwhile took the lock along.
    if !lock_shared(file) {
        return Ok(false);
    }
    let wal = beside(source, "-wal");
    let before = read_start::<WAL_HEADER>(&wal)?;
    let stamp = || {
        let meta = file.metadata()?;
        Ok((meta.len(), meta.modified()?))
    };
    let stamped = stamp().map_err(OutboxErrorKind::Io)?;
    let mut from = file;
    from.rewind().map_err(OutboxErrorKind::Io)?;
    let mut to = File::create(copy).map_err(OutboxErrorKind::Copy)?;
    io::copy(&mut from, &mut to).map_err(OutboxErrorKind::Copy)?;
    copy_bytes(&wal, &beside(copy, "-wal"))?;
    let copied = read_start::<WAL_HEADER>(&beside(copy, "-wal"))?;
    // Without a WAL nothing but the lock kept the file as it was, and that may have been lost on the way.
    if before.is_none() && stamp().map_err(OutboxErrorKind::Io)? != stamped {
        return Ok(false);
    }
    Ok(copied == before && read_start::<WAL_HEADER>(&wal)? == before)
}

/// A shared lock on the bytes that SQLite locks (and all others), without waiting.
#[cfg(unix)]
pub(crate) fn lock_shared(file: &File) -> bool {
    rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockShared).is_ok()
}

// Elsewhere there is none that SQLite would heed.
#[cfg(not(unix))]
pub(crate) fn lock_shared(_: &File) -> bool {
    false
}

/// Copies a damaged database as it is, with its WAL, into `dir`, and returns the copy's path. The copy's header no
/// longer says how many pages there are, so that SQLite goes by the length of the file.
pub(crate) fn make_damaged(path: &Path, dir: &Path) -> Result<PathBuf, OutboxErrorKind> {
    let source = path.canonicalize().map_err(OutboxErrorKind::Io)?;
    read_header(&source)?;
    let copy = dir.join("copy.db");
    copy_bytes(&source, &copy)?;
    copy_bytes(&beside(&source, "-wal"), &beside(&copy, "-wal"))?;
    let patch = || {
        let mut file = File::options().write(true).open(&copy)?;
        file.seek(SeekFrom::Start(28))?;
        file.write_all(&[0; 4])
    };
    patch().map_err(OutboxErrorKind::Copy)?;
    Ok(copy)
}

/// One attempt; `false` if the file changed under it.
fn attempt_copy(source: &Path, copy: &Path) -> Result<bool, OutboxErrorKind> {
    let header = read_header(source)?;
    let wal = beside(source, "-wal");
    // SQLite also takes a file for one in WAL mode if there is anything in a `-wal` beside it, even less than a header.
    let wal_mode = is_wal_mode(&header) || read_start::<1>(&wal)?.is_some();
    if let Some(before) = read_start::<WAL_HEADER>(&wal)? {
        copy_bytes(source, copy)?;
        copy_bytes(&wal, &beside(copy, "-wal"))?;
        let copied = read_start::<WAL_HEADER>(&beside(copy, "-wal"))?;
        return Ok(copied == Some(before) && read_start::<WAL_HEADER>(&wal)? == Some(before));
    }
    check_length(source, &header)?;
    if wal_mode {
        return Ok(copy_twice(source, copy)? && read_start::<WAL_HEADER>(&wal)?.is_none());
    }
    for _ in 0..UNLOCKED_ATTEMPTS {
        match copy_between_commits(source, copy) {
            Err(OutboxErrorKind::Sqlite(error)) if needs_rollback(&error) => {
                return copy_with_journal(source, copy);
            }
            Err(error) => return Err(error),
            Ok(true) => return Ok(true),
            Ok(false) => remove(copy)?,
        }
    }
    match back_up(source, copy) {
        Err(error) if needs_rollback(&error) => copy_with_journal(source, copy),
        Err(error) if is_of_room(&error) => Err(OutboxErrorKind::Copy(io::Error::other(error))),
        Err(error) => Err(error.into()),
        Ok(StepResult::Done) => Ok(true),
        Ok(_) => Err(OutboxErrorKind::Locked),
    }
}

/// Bytes 18 and 19: the file format for writing and reading, 2 in WAL mode.
pub(crate) fn is_wal_mode(header: &[u8; HEADER]) -> bool {
    header[18] == 2 || header[19] == 2
}

pub(crate) fn read_header(source: &Path) -> Result<[u8; HEADER], OutboxErrorKind> {
    let meta = source.metadata().map_err(OutboxErrorKind::Io)?;
    if !meta.is_file() {
        return Err(OutboxErrorKind::NotAFile);
    }
    if meta.len() == 0 {
        return Err(OutboxErrorKind::Empty);
    }
    match read_start::<HEADER>(source)? {
        Some(header) if header.starts_with(MAGIC) => Ok(header),
        Some(_) => Err(OutboxErrorKind::NotSqlite),
        None => match read_start::<16>(source)? {
            Some(start) if start == *MAGIC => Err(OutboxErrorKind::Truncated {
                found: meta.len(),
                expected: 512,
            }),
            _ => Err(OutboxErrorKind::NotSqlite),
        },
    }
}

/// A file that ends before the pages that its header counts. (With a WAL the count is in there.)
pub(crate) fn check_length(source: &Path, header: &[u8; HEADER]) -> Result<(), OutboxErrorKind> {
    let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65536,
        size => u64::from(size),
    };
    let found = source.metadata().map_err(OutboxErrorKind::Io)?.len();
    let expected = u64::from(u32_at(28)) * page_size;
    // The count holds only if the two change counters agree; old writers leave it alone.
    if u32_at(24) == u32_at(92) && found < expected {
        return Err(OutboxErrorKind::Truncated { found, expected });
    }
    Ok(())
}

/// Copies the bytes without a lock; `false` if somebody wrote meanwhile. A commit changes what SQLite calls the version of
/// the data, and a writer that is still at it keeps readers from asking. One that took everything back again leaves the
/// time of the last change.
fn copy_between_commits(source: &Path, copy: &Path) -> Result<bool, OutboxErrorKind> {
    let connection = Connection::open_with_flags(
        source,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.busy_timeout(LOCK_WAIT)?;
    let version = || connection.query_row(DATA_VERSION, [], |row| row.get::<_, i64>(0));
    let changed = || {
        let meta = source.metadata()?;
        Ok((meta.len(), meta.modified()?))
    };
    let before = (version()?, changed().map_err(OutboxErrorKind::Io)?);
    copy_bytes(source, copy)?;
    let after = (version()?, changed().map_err(OutboxErrorKind::Io)?);
    Ok(before == after)
}

/// SQLite's backup, as one reading transaction. No file is opened for writing or created: in rollback
/// mode a reader needs none.
fn back_up(source: &Path, copy: &Path) -> rusqlite::Result<StepResult> {
    let from = Connection::open_with_flags(
        source,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    from.busy_timeout(LOCK_WAIT)?;
    let mut to = Connection::open(copy)?;
    Backup::new(&from, &mut to)?.step(-1)
}

/// A journal of a writer that is gone waits to be rolled back, which a read-only connection cannot do.
fn needs_rollback(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| {
        e.extended_code == rusqlite::ffi::SQLITE_READONLY_ROLLBACK
            || e.extended_code == rusqlite::ffi::SQLITE_READONLY_RECOVERY
    })
}

/// The copy cannot be written; the file itself is only read.
fn is_of_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|e| {
        e.code == rusqlite::ErrorCode::DiskFull
            || [
                rusqlite::ffi::SQLITE_IOERR_WRITE,
                rusqlite::ffi::SQLITE_IOERR_TRUNCATE,
                rusqlite::ffi::SQLITE_IOERR_FSYNC,
            ]
            .contains(&e.extended_code)
    })
}

fn copy_with_journal(source: &Path, copy: &Path) -> Result<bool, OutboxErrorKind> {
    let journal = beside(source, "-journal");
    let journal_copy = beside(copy, "-journal");
    if !journal.exists() {
        return Ok(false);
    }
    copy_bytes(&journal, &journal_copy)?;
    copy_bytes(source, copy)?;
    if !(same_bytes(&journal, &journal_copy)? && same_bytes(source, copy)?) {
        return Ok(false);
    }
    // Rolling back a journal that names a super-journal can delete that file, and the name comes from
    // the input.
    if ends_with(&journal_copy, &SUPER_JOURNAL_MAGIC).map_err(OutboxErrorKind::Io)? {
        return Err(OutboxErrorKind::SuperJournal);
    }
    Ok(true)
}

fn copy_twice(source: &Path, copy: &Path) -> Result<bool, OutboxErrorKind> {
    copy_bytes(source, copy)?;
    same_bytes(source, copy)
}

fn copy_bytes(source: &Path, copy: &Path) -> Result<(), OutboxErrorKind> {
    let mut from = match File::open(source) {
        Ok(file) => file,
        // A WAL or journal can go at any moment; the comparison afterwards notices.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OutboxErrorKind::Io(error)),
    };
    let mut to = File::create(copy).map_err(OutboxErrorKind::Copy)?;
    io::copy(&mut from, &mut to).map_err(OutboxErrorKind::Copy)?;
    Ok(())
}

fn same_bytes(source: &Path, copy: &Path) -> Result<bool, OutboxErrorKind> {
    let open = |path: &Path| File::open(path).map(|file| BufReader::with_capacity(1 << 16, file));
    let (mut a, mut b) = match (open(source), open(copy)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(error), _) | (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        (Err(error), _) => return Err(OutboxErrorKind::Io(error)),
        (_, Err(error)) => return Err(OutboxErrorKind::Copy(error)),
    };
    let mut left = vec![0; 1 << 16];
    let mut right = vec![0; 1 << 16];
    loop {
        let n = read_full(&mut a, &mut left).map_err(OutboxErrorKind::Io)?;
        let m = read_full(&mut b, &mut right).map_err(OutboxErrorKind::Copy)?;
        if left[..n] != right[..m] {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The first `N` bytes; `None` if the file is not there or shorter.
fn read_start<const N: usize>(path: &Path) -> Result<Option<[u8; N]>, OutboxErrorKind> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OutboxErrorKind::Io(error)),
    };
    let mut start = [0; N];
    let n = read_full(&mut file, &mut start).map_err(OutboxErrorKind::Io)?;
    Ok((n == N).then_some(start))
}

fn ends_with(path: &Path, ending: &[u8; 8]) -> io::Result<bool> {
    let mut file = File::open(path)?;
    if file.metadata()?.len() < 8 {
        return Ok(false);
    }
    let mut last = [0; 8];
    file.seek(SeekFrom::End(-8))?;
    file.read_exact(&mut last)?;
    Ok(last == *ending)
}

pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The path as a URI of SQLite that promises that the file does not change.
pub(crate) fn immutable(source: &Path) -> String {
    use std::fmt::Write as _;

    let mut uri = String::from("file:");
    for byte in source.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                uri.push(char::from(*byte));
            }
            _ => {
                // Writing to a String cannot fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri.push_str("?immutable=1");
    uri
}

fn remove(path: &Path) -> Result<(), OutboxErrorKind> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OutboxErrorKind::Copy(error)),
        _ => Ok(()),
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// A lock that another handle of this process took along keeps nobody from writing: what was copied meanwhile is no copy.
    #[test]
    fn what_changed_while_it_was_copied_is_no_copy_although_its_lock_was_taken() {
        let folder = tempfile::tempdir().unwrap();
        let (source, copy) = (folder.path().join("outbox.db"), folder.path().join("copy.db"));
        // More than a pipe takes at once.
        std::fs::write(&source, vec![7; 1 << 20]).unwrap();
        let kept = File::open(&source).unwrap();
        assert!(copy_kept(&kept, &source, &copy).unwrap());
        assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&source).unwrap());
        std::fs::remove_file(&copy).unwrap();
        // The copy is a pipe: it is known how far it is, and it waits.
        let made = std::process::Command::new("mkfifo").arg(&copy).status().unwrap();
        assert!(made.success());
        let agent = {
            let (source, copy) = (source.clone(), copy.clone());
            std::thread::spawn(move || {
                let mut reader = File::open(copy).unwrap();
                reader.read_exact(&mut [0; 1]).unwrap();
                // Closing this handle takes the lock along, and the agent writes without a WAL.
                let mut writer = File::options().append(true).open(source).unwrap();
                writer.write_all(&[8; 4096]).unwrap();
                drop(writer);
                io::copy(&mut reader, &mut io::sink()).unwrap()
            })
        };
        assert!(!copy_kept(&kept, &source, &copy).unwrap());
        assert!(agent.join().unwrap() > 1 << 19);
    }
}
