//! What a file is, by its first bytes.
//!
//! A folder of witnesses holds anything: outboxes under any name, copies that were compressed, notes, other programs'
//! databases. Names are a hint at most, so the first bytes decide; only where these say nothing does the name decide
//! whether the file may have been an outbox once.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::outbox::secure;
use crate::private_copy::immutable;
use crate::private_copy::{self, HEADER, MAGIC};
use cli_common::PrivateDir;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// An outbox, or a database that has to be opened to tell.
    Outbox,
    /// Something else.
    Other {
        /// What, and what to do with it.
        what: String,
        /// Whether it may have been an outbox, or hold one.
        may_be_outbox: bool,
    },
}

impl FileKind {
    fn other(what: impl Into<String>, may_be_outbox: bool) -> Self {
        FileKind::Other {
            what: what.into(),
            may_be_outbox,
        }
    }
}

/// So much of a file is looked at.
const START: usize = 4096;
/// So many members of an archive are looked at.
const MAX_MEMBERS: usize = 10_000;
/// `application_id` of a snapshot of a log.
const SNAPSHOT: &[u8] = b"VESL";

/// The kinds of file that cannot be an outbox, by their first bytes.
const OTHERS: [(&[u8], &str); 13] = [
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"%PDF", "a PDF"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a program"),
    (b"\xca\xfe\xba\xbe", "a program"),
    (b"\xd0\xcf\x11\xe0", "an OLE document"),
    (b"PAR1", "a Parquet file"),
    (b"-----BEGIN ", "a key or certificate in PEM"),
    (b"SQLite format 2", "a database of SQLite 2"),
    (b"OggS", "a sound"),
    (b"ID3", "a sound"),
];

/// Kinds of compressed files, and how each is unpacked.
const COMPRESSED: [(&[u8], &str, &str); 8] = [
    (b"\x28\xb5\x2f\xfd", "zstd", "zstd -dk"),
    (b"\xfd7zXZ\0", "xz", "xz -dk"),
    (b"BZh", "bzip2", "bzip2 -dk"),
    (b"\x04\x22\x4d\x18", "lz4", "lz4 -d"),
    (b"PK\x03\x04", "zip", "unzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z", "7z x"),
    (b"Rar!", "rar", "unrar x"),
    (b"\x1f\x9d", "compress", "uncompress"),
];

/// Looks at a regular file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn look(path: &Path) -> io::Result<FileKind> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut start = Vec::with_capacity(START);
    Read::by_ref(&mut file)
        .take(START as u64)
        .read_to_end(&mut start)?;
    let name = path.file_name().unwrap_or_default();
    if start.starts_with(MAGIC) {
        return Ok(of_sqlite(path, &start));
    }
    Ok(of_bytes(&mut file, name, &start, length))
}

fn of_bytes(file: &mut File, name: &OsStr, start: &[u8], length: u64) -> FileKind {
    let named = is_database_name(name);
    if start.is_empty() {
        return FileKind::other("has 0 bytes: never written, or cut off", named);
    }
    if MAGIC.starts_with(start) {
        return FileKind::other("an SQLite database that was cut off", true);
    }
    if start.starts_with(&[0x37, 0x7f, 0x06, 0x82]) || start.starts_with(&[0x37, 0x7f, 0x06, 0x83]) {
        let what =
            "the WAL of an SQLite database under another name: put it beside its database, as NAME-wal";
        return FileKind::other(what, true);
    }
    if start.starts_with(&[0x1f, 0x8b]) {
        return of_gzip(file, named);
    }
    if let Some((_, kind, unpack)) = COMPRESSED.iter().find(|(magic, ..)| start.starts_with(magic)) {
        return FileKind::other(format!("compressed by {kind}: unpack it ({unpack})"), named);
    }
    if start.get(257..262) == Some(b"ustar") {
        let holds = tar_holds_database(file).unwrap_or(true);
        return FileKind::other("a tar archive: unpack it (tar -xf)", named || holds);
    }
    if start.starts_with(b"PGDMP") {
        return FileKind::other("a dump by pg_dump: give it by --witness", false);
    }
    if let Some((_, what)) = OTHERS.iter().find(|(magic, _)| start.starts_with(magic)) {
        return FileKind::other(*what, false);
    }
    if let Some(what) = text(start) {
        let named = has_database_ending(name);
        return match named {
            true => FileKind::other(format!("is not an SQLite database, but {what}"), true),
            false => FileKind::other(what, false),
        };
    }
    if start.iter().all(|byte| *byte == 0) {
        return FileKind::other("begins with zeros: a database whose start is lost, or nothing", {
            named || length.is_multiple_of(512)
        });
    }
    if looks_random(start) && (named || length.is_multiple_of(4096)) {
        return FileKind::other("may be an encrypted SQLite database: decrypt it first", true);
    }
    FileKind::other("not an SQLite database", named)
}

/// A database of SQLite: whose?
fn of_sqlite(path: &Path, start: &[u8]) -> FileKind {
    let Some(header) = start.first_chunk::<HEADER>() else {
        // Opening it says how much of it is left.
        return FileKind::Outbox;
    };
    if &header[68..72] == SNAPSHOT {
        return FileKind::other("a snapshot of a log: give it by --witness", false);
    }
    let wal = private_copy::beside(path, "-wal");
    let has_wal = wal.metadata().is_ok_and(|wal| wal.len() > 0);
    // What cannot be listed here is opened, which says better what is wrong.
    let Ok(tables) = tables(path, has_wal) else {
        return FileKind::Outbox;
    };
    if tables.outbox {
        return FileKind::Outbox;
    }
    if tables.first.is_empty() {
        let lost = private_copy::is_wal_mode(header) && !has_wal;
        let what = if lost {
            "an SQLite database in WAL mode without a table and without its -wal, in which all of it may have been"
        } else {
            "an SQLite database without tables"
        };
        return FileKind::other(what, lost);
    }
    let names = tables.first.join(", ");
    FileKind::other(
        format!("an SQLite database of something else (tables {names})"),
        false,
    )
}

struct Tables {
    /// Whether there are those of an outbox.
    outbox: bool,
    /// The first of all.
    first: Vec<String>,
}

fn tables(path: &Path, has_wal: bool) -> Result<Tables, Box<dyn std::error::Error>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    // As `immutable` nothing is created, locked or written; a change in between costs no more than a wrong guess.
    let connection = Connection::open_with_flags(immutable(path), flags | OpenFlags::SQLITE_OPEN_URI)?;
    let found = list(&connection)?;
    if found.outbox || !has_wal {
        return Ok(found);
    }
    // The newest schema may be in the WAL, which only a copy shows without touching it.
    let dir = PrivateDir::new()?;
    let copy = private_copy::make(path, dir.path())?;
    Ok(list(&Connection::open_with_flags(
        copy,
        OpenFlags::SQLITE_OPEN_READ_WRITE,
    )?)?)
}

fn list(connection: &Connection) -> rusqlite::Result<Tables> {
    secure(connection)?;
    let names = |sql: &str| -> rusqlite::Result<Vec<String>> {
        connection
            .prepare(sql)?
            .query_map([], |row| row.get(0))?
            .collect()
    };
    let known = names(include_str!("../../sql/outbox-sync/tables.sql"))?;
    let outbox = |name: &String| matches!(name.as_str(), "_ves_outbox" | "outbox" | "pulled_events");
    let first = names(include_str!("../../sql/outbox-sync/first_tables.sql"))?;
    let short = |name: String| name.chars().take(40).collect();
    Ok(Tables {
        outbox: known.iter().any(outbox),
        first: first.into_iter().map(short).collect(),
    })
}

fn of_gzip(file: &mut File, named: bool) -> FileKind {
    let mut inner = Vec::new();
    let unpacked = file.seek(SeekFrom::Start(0)).and_then(|_| {
        flate2::read::GzDecoder::new(file)
            .take(START as u64)
            .read_to_end(&mut inner)
    });
    if inner.starts_with(MAGIC) {
        return FileKind::other("a compressed SQLite database: unpack it (gzip -dk)", true);
    }
    if inner.starts_with(b"PGDMP") || is_dump(&inner) {
        return FileKind::other("a compressed dump of PostgreSQL: give it by --witness", false);
    }
    if inner.get(257..262) == Some(b"ustar") {
        return FileKind::other("a compressed archive: unpack it (tar -xzf)", true);
    }
    FileKind::other(
        "compressed by gzip: unpack it (gzip -dk)",
        named || unpacked.is_err(),
    )
}

/// Whether a member of an archive begins as an SQLite database, or is named as one.
fn tar_holds_database(file: &mut File) -> io::Result<bool> {
    let mut at = 0_u64;
    for _ in 0..MAX_MEMBERS {
        let mut block = [0; 528];
        file.seek(SeekFrom::Start(at))?;
        let mut read = 0;
        while read < block.len() {
            match file.read(&mut block[read..])? {
                0 => break,
                n => read += n,
            }
        }
        if read < 512 || block[0] == 0 {
            return Ok(false);
        }
        let end = block[..100].iter().position(|b| *b == 0).unwrap_or(100);
        let name = String::from_utf8_lossy(&block[..end]).into_owned();
        if block[512..].starts_with(MAGIC) || is_database_name(name.as_ref()) {
            return Ok(true);
        }
        let digits = String::from_utf8_lossy(&block[124..136]).into_owned();
        let size = u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8);
        let size = size.map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
        at = at
            .checked_add(512)
            .and_then(|at| at.checked_add(size.next_multiple_of(512)))
            .ok_or(io::ErrorKind::InvalidData)?;
    }
    // Nobody knows what is in the rest.
    Ok(true)
}

fn is_dump(start: &[u8]) -> bool {
    let start = &start[..start.len().min(400)];
    let starts = [
        &b"-- PostgreSQL database dump"[..],
        b"-- PostgreSQL database cluster dump",
    ];
    starts
        .iter()
        .any(|line| start.windows(line.len()).any(|window| window == *line))
}

/// What a text is; `None` if it is none.
fn text(start: &[u8]) -> Option<String> {
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Some("text in UTF-16".into());
    }
    let valid = match std::str::from_utf8(start) {
        Ok(text) => text,
        // The last character may have been cut in two.
        Err(error) if start.len() == START && error.valid_up_to() + 4 > START => {
            std::str::from_utf8(&start[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    if valid
        .chars()
        .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c'))
    {
        return None;
    }
    if is_dump(start) {
        return Some("a dump by pg_dump: give it by --witness".into());
    }
    let squeezed: String = valid.chars().filter(|c| !c.is_whitespace()).collect();
    if !squeezed.trim_start_matches('\u{feff}').starts_with('{') {
        return Some("text".into());
    }
    let schema = squeezed
        .split("\"schema\":\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    Some(match schema {
        Some(schema) if schema.starts_with("event-export/") => {
            format!("an export ({schema}): name it to have it read")
        }
        Some(schema) if schema.starts_with("log-export/") => {
            format!("an export of a log ({schema}): give it by --witness")
        }
        Some(schema) => format!("JSON ({})", schema.chars().take(60).collect::<String>()),
        None if squeezed.contains("\"receiptHash\"") => "receipts: give them by --receipts".into(),
        None => "JSON".into(),
    })
}

/// Whether bytes look as if they were drawn by lot: compressed or encrypted.
fn looks_random(bytes: &[u8]) -> bool {
    let mut seen = [0_u32; 256];
    bytes.iter().for_each(|byte| seen[usize::from(*byte)] += 1);
    let (length, most) = (bytes.len(), seen.iter().max().copied().unwrap_or(0) as usize);
    // Of 4096 drawn bytes each of the 256 comes some 16 times, and hardly one more than 48 times.
    length >= 512
        && most <= length / 256 * 3 + 8
        && seen.iter().filter(|n| **n > 0).count() > 200.min(length / 4)
}

const ENDINGS: [&str; 7] = ["db", "sqlite", "sqlite3", "db3", "sqlite2", "s3db", "sl3"];

/// Whether a name ends as those of databases do.
pub(crate) fn has_database_ending(name: &OsStr) -> bool {
    let ending = Path::new(name)
        .extension()
        .map(|e| e.to_string_lossy().to_ascii_lowercase());
    ending.is_some_and(|ending| ENDINGS.contains(&ending.as_str()))
}

/// Whether a name speaks of a database, or a copy of one: `x.db.bak`, `x.SQLITE3-old`, `outbox`.
pub(crate) fn is_database_name(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_ascii_lowercase();
    ["outbox", ".db", ".sqlite", ".s3db", ".sl3"]
        .iter()
        .any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(name: &str, bytes: &[u8]) -> (String, bool) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        match look(&path).unwrap() {
            FileKind::Outbox => ("outbox".into(), true),
            FileKind::Other { what, may_be_outbox } => (what, may_be_outbox),
        }
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn files_are_told_by_their_first_bytes() {
        let mut random = 1_u64;
        let noise: Vec<u8> = (0..8192)
            .map(|_| {
                random = random
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (random >> 40) as u8
            })
            .collect();
        for (name, bytes, what, may_be) in [
            ("x.db", &b""[..], "0 bytes", true),
            (".gitkeep", b"", "0 bytes", false),
            ("x", b"SQLite for", "cut off", true),
            ("x", b"\x37\x7f\x06\x82and so on", "WAL", true),
            ("notes.txt", b"a note\n", "text", false),
            ("x.db", b"a note\n", "text", true),
            ("x.db.md", b"a note\n", "text", false),
            (
                "plan",
                b"{\"type\":\"plan\",\"schema\":\"recovery-plan/1\"}\n",
                "recovery-plan/1",
                false,
            ),
            ("a.dump", b"PGDMP\x01", "--witness", false),
            (
                "a.sql",
                b"--\n-- PostgreSQL database dump\n--\n",
                "--witness",
                false,
            ),
            ("a.db.zst", b"\x28\xb5\x2f\xfdxx", "zstd -dk", true),
            ("logs.zst", b"\x28\xb5\x2f\xfdxx", "zstd -dk", false),
            ("a.gz", &packed(b"SQLite format 3\0 and more"), "gzip -dk", true),
            ("a.gz", &packed(b"some text"), "gzip", false),
            ("a.bin", &noise, "encrypted", true),
            ("a.db", &noise[..1000], "encrypted", true),
            ("a.bin", &noise[..1000], "not an SQLite", false),
            ("a.db", &[0; 4096], "zeros", true),
            ("a.png", b"\x89PNG\r\n", "picture", false),
            ("a.DB", b"\x01\x02\x03\xff", "not an SQLite", true),
        ] {
            let (found, flag) = kind(name, bytes);
            assert!(found.contains(what) && flag == may_be, "{name}: {found} {flag}");
        }
    }

    #[test]
    fn names_of_databases() {
        for name in ["x.db", "X.DB3", "x.db.bak", "x.sqlite3-old", "outbox", "x.db~"] {
            assert!(is_database_name(name.as_ref()), "{name}");
        }
        for name in ["x.txt", "database", "xdb"] {
            assert!(!is_database_name(name.as_ref()), "{name}");
        }
        assert!(has_database_ending("x.DB".as_ref()) && !has_database_ending("x.db.bak".as_ref()));
    }
}
