//! Files of checkpoints: one entry after the other, each a signed note with what its tree grew by.
//!
//! ```text
//! checkpoint/1
//! leaves 321-334
//! <base64>                       the leaf of each of these numbers, one a line
//! peaks 334
//! <base64>                       the roots of the complete subtrees, largest first
//!
//! <the signed note>
//!
//! ```
//!
//! Leaves and peaks may be missing; they are not signed, and count only as far as a signed root confirms them. A note alone,
//! without the first line, is an entry too. What cannot be read costs that entry: the next one begins with its own first
//! line, so a file that was cut in the middle of an entry can be continued.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use ves::Hash32;
use ves::span::Span;

use crate::checkpoint::{Checkpoint, CheckpointError, base64_hash, base64_of, decimal};
use crate::note::{MAX_NOTE, Note, NoteError};

/// The first line of an entry.
const HEADER: &str = "checkpoint/1";
/// What files of checkpoints in a folder are called.
pub const EXTENSION: &str = "checkpoints";
/// The most leaves of one entry. A stream that has grown by more gets more checkpoints.
pub const MAX_LEAVES: u64 = 1 << 16;
/// The longest line that is read, in bytes.
const MAX_LINE: u64 = 1 << 14;

/// A checkpoint in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What its tree grew by since an earlier entry.
    pub leaves: Option<LeavesOfFile>,
    /// The peaks of its tree ([`ves::log_tree::CompactRange`]), or nothing.
    pub peaks: Vec<Hash32>,
    /// The note, as it was signed.
    pub note: Note,
    /// What the note says.
    pub checkpoint: Checkpoint,
}

/// The leaves of consecutive numbers (`ves::merkle::leaf_hash`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeavesOfFile {
    /// The number of the first.
    pub first: u64,
    /// One for each number.
    pub hashes: Vec<Hash32>,
}

impl Entry {
    /// As it stands in a file.
    pub fn to_text(&self) -> String {
        let mut text = format!("{HEADER}\n");
        if let Some(leaves) = &self.leaves {
            let last = leaves.first + leaves.hashes.len() as u64 - 1;
            let _ = writeln!(text, "leaves {}-{last}", leaves.first);
            leaves.hashes.iter().for_each(|leaf| push_hash(&mut text, leaf));
        }
        if !self.peaks.is_empty() {
            let _ = writeln!(text, "peaks {}", self.checkpoint.size);
            self.peaks.iter().for_each(|peak| push_hash(&mut text, peak));
        }
        let _ = writeln!(text, "\n{}", self.note);
        text
    }
}

fn push_hash(text: &mut String, hash: &Hash32) {
    text.push_str(&base64_of(hash));
    text.push('\n');
}

/// Why an entry is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// The file ends in the middle of it.
    #[error("the file ends in the middle of it")]
    CutShort,
    /// Its leaves or peaks.
    #[error("its {0} cannot be read")]
    Block(&'static str),
    /// A line that is too long, or no text.
    #[error("a line is too long, or no text")]
    Line,
    /// It is no signed note.
    #[error(transparent)]
    Note(#[from] NoteError),
    /// The note is no checkpoint of a stream.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Reads the entries of a file, one after the other.
pub struct EntryReader<R> {
    input: R,
    /// The line that was read last, without its end.
    line: String,
    /// That line is to be read again.
    again: bool,
    /// The number of that line, from 1 on.
    number: u64,
    /// Where that line begins, and where the next.
    offsets: (u64, u64),
}

/// An entry and where it stands.
#[derive(Debug)]
pub struct Located {
    /// The number of its first line.
    pub line: u64,
    /// The entry, or why it is not used.
    pub entry: Result<Entry, Flaw>,
}

impl<R: BufRead> EntryReader<R> {
    /// Reads from here on. `offset` is where that is, for [`EntryReader::offset`].
    pub fn new(input: R, offset: u64) -> Self {
        Self {
            input,
            line: String::new(),
            again: false,
            number: 0,
            offsets: (offset, offset),
        }
    }

    /// Where what was read so far ends.
    pub fn offset(&self) -> u64 {
        if self.again {
            self.offsets.0
        } else {
            self.offsets.1
        }
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// What cannot be read from the disk.
    pub fn next_entry(&mut self) -> io::Result<Option<Located>> {
        loop {
            match self.read_line()? {
                Ok(true) if self.line.is_empty() => {}
                Ok(true) => break,
                Ok(false) => return Ok(None),
                Err(flaw) => {
                    let line = self.number;
                    self.skip()?;
                    let entry = Err(flaw);
                    return Ok(Some(Located { line, entry }));
                }
            }
        }
        let line = self.number;
        let entry = self.entry()?;
        if entry.is_err() {
            // The line that did not fit may be the first of the next entry, behind one that was cut.
            self.again |= self.number > line && self.line == HEADER;
            self.skip()?;
        }
        Ok(Some(Located { line, entry }))
    }

    /// Goes on to where the next entry begins.
    fn skip(&mut self) -> io::Result<()> {
        loop {
            match self.read_line()? {
                Ok(true) if self.line == HEADER => {
                    self.again = true;
                    return Ok(());
                }
                Ok(false) => return Ok(()),
                Ok(true) | Err(_) => {}
            }
        }
    }

    /// Reads the next line; `false` at the end of the file. A line without an end is one too.
    fn read_line(&mut self) -> io::Result<Result<bool, Flaw>> {
        if std::mem::take(&mut self.again) {
            return Ok(Ok(true));
        }
        let mut bytes = std::mem::take(&mut self.line).into_bytes();
        bytes.clear();
        let read = (&mut self.input).take(MAX_LINE).read_until(b'\n', &mut bytes)?;
        self.offsets = (self.offsets.1, self.offsets.1 + read as u64);
        self.number += 1;
        if read == 0 {
            return Ok(Ok(false));
        }
        let ended = bytes.pop_if(|byte| *byte == b'\n').is_some();
        bytes.pop_if(|byte| *byte == b'\r');
        if !ended && read as u64 == MAX_LINE {
            return Ok(Err(Flaw::Line));
        }
        match String::from_utf8(bytes) {
            Ok(line) => {
                self.line = line;
                Ok(Ok(true))
            }
            Err(_) => Ok(Err(Flaw::Line)),
        }
    }

    /// An entry whose first line was read.
    fn entry(&mut self) -> io::Result<Result<Entry, Flaw>> {
        let alone = self.line != HEADER;
        let (mut leaves, mut peaks) = (None, None);
        if !alone {
            loop {
                match self.read_line()? {
                    Ok(true) => {}
                    Ok(false) => return Ok(Err(Flaw::CutShort)),
                    Err(flaw) => return Ok(Err(flaw)),
                }
                let read = match self.line.split_once(' ') {
                    _ if self.line.is_empty() => break,
                    Some(("leaves", range)) if leaves.is_none() => {
                        let Some(range) = read_range(range) else {
                            return Ok(Err(Flaw::Block("leaves")));
                        };
                        let hashes = self.hashes(range.count(), "leaves")?;
                        hashes.map(|hashes| {
                            let first = range.start();
                            leaves = Some(LeavesOfFile { first, hashes });
                        })
                    }
                    Some(("peaks", size)) if peaks.is_none() => {
                        let Some(size) = decimal(size) else {
                            return Ok(Err(Flaw::Block("peaks")));
                        };
                        let hashes = self.hashes(u64::from(size.count_ones()), "peaks")?;
                        hashes.map(|hashes| peaks = Some((size, hashes)))
                    }
                    _ => Err(Flaw::Block("first lines")),
                };
                if let Err(flaw) = read {
                    return Ok(Err(flaw));
                }
            }
            match self.read_line()? {
                Ok(true) => {}
                Ok(false) => return Ok(Err(Flaw::CutShort)),
                Err(flaw) => return Ok(Err(flaw)),
            }
        }
        let note = match self.note(alone)? {
            Ok(note) => note,
            Err(flaw) => return Ok(Err(flaw)),
        };
        Ok(Checkpoint::read(&note.text)
            .map_err(Flaw::from)
            .and_then(|checkpoint| {
                let peaks = match peaks {
                    Some((size, _)) if size != checkpoint.size => return Err(Flaw::Block("peaks")),
                    Some((_, peaks)) => peaks,
                    None => Vec::new(),
                };
                Ok(Entry {
                    leaves,
                    peaks,
                    note,
                    checkpoint,
                })
            }))
    }

    fn hashes(&mut self, count: u64, what: &'static str) -> io::Result<Result<Vec<Hash32>, Flaw>> {
        let mut hashes = Vec::new();
        for _ in 0..count {
            match self.read_line()? {
                Ok(true) => {}
                Ok(false) => return Ok(Err(Flaw::CutShort)),
                Err(flaw) => return Ok(Err(flaw)),
            }
            match base64_hash(&self.line) {
                Some(hash) => hashes.push(hash),
                None => return Ok(Err(Flaw::Block(what))),
            }
        }
        Ok(Ok(hashes))
    }

    /// A note whose first line was read, up to the empty line behind its signatures.
    fn note(&mut self, alone: bool) -> io::Result<Result<Note, Flaw>> {
        let mut text = String::new();
        let mut signed = false;
        loop {
            if self.line == HEADER {
                // A note that somebody added as it is has no empty line behind it.
                self.again = alone && signed;
                match self.again {
                    true => break,
                    false => return Ok(Err(Flaw::CutShort)),
                }
            }
            let is_signature = self.line.starts_with('\u{2014}');
            if signed && !is_signature {
                self.again = !self.line.is_empty();
                break;
            }
            signed |= is_signature;
            text.push_str(&self.line);
            text.push('\n');
            if text.len() > MAX_NOTE {
                return Ok(Err(NoteError::TooLong.into()));
            }
            match self.read_line()? {
                Ok(true) => {}
                // A note alone may end with its last signature.
                Ok(false) if alone && signed => break,
                Ok(false) => return Ok(Err(Flaw::CutShort)),
                Err(flaw) => return Ok(Err(flaw)),
            }
        }
        Ok(text.parse().map_err(Flaw::from))
    }
}

/// `321-334`, of no more leaves than an entry may have.
fn read_range(text: &str) -> Option<Span> {
    let (first, last) = text.split_once('-')?;
    let span = Span::new(decimal(first)?, decimal(last)?)?;
    (span.start() > 0 && span.count() <= MAX_LEAVES).then_some(span)
}

/// The files of checkpoints that a path names: itself, or those in the folder.
///
/// # Errors
/// It is not there or cannot be listed.
pub fn files_of(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !path.metadata()?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == EXTENSION) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// A file that checkpoints are added to, by one program at a time.
#[derive(Debug)]
pub struct Appender {
    file: File,
}

impl Appender {
    /// Opens the file, or makes it, and takes its lock.
    ///
    /// # Errors
    /// It is no regular file, cannot be written, or another program is adding to it (`WouldBlock`).
    pub fn open(path: &Path) -> io::Result<Self> {
        if let Ok(meta) = path.symlink_metadata()
            && !meta.is_file()
        {
            let what = "is no regular file";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::WouldBlock, "another program is adding to it")
            }
            std::fs::TryLockError::Error(error) => error,
        })?;
        Ok(Self { file })
    }

    /// How long the file is.
    ///
    /// # Errors
    /// What the disk says.
    pub fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Whether nothing is in it.
    ///
    /// # Errors
    /// What the disk says.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Reads its entries from `offset` on.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read_from(&mut self, offset: u64) -> io::Result<EntryReader<io::BufReader<&File>>> {
        self.file.seek(SeekFrom::Start(offset))?;
        Ok(EntryReader::new(io::BufReader::new(&self.file), offset))
    }

    /// Adds entries, and waits until they are on disk.
    ///
    /// # Errors
    /// They could not be written whole; what was written of them is taken back, as far as the disk lets us.
    pub fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let before = self.len()?;
        let mut text = String::new();
        if before > 0 && !self.ends_with_line(before)? {
            text.push('\n');
        }
        entries.iter().for_each(|entry| text.push_str(&entry.to_text()));
        let written = self.file.write_all(text.as_bytes());
        let written = written.and_then(|()| self.file.sync_all());
        written.inspect_err(|_| {
            // Whatever stays is passed over by readers, and the next entry begins on its own line.
            let _ = self.file.set_len(before);
        })
    }

    fn ends_with_line(&mut self, len: u64) -> io::Result<bool> {
        let mut last = [0];
        self.file.seek(SeekFrom::Start(len - 1))?;
        self.file.read_exact(&mut last)?;
        Ok(last == [b'\n'])
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use uuid::Uuid;
    use ves::StreamKey;
    use ves::log_tree::CompactRange;

    use super::*;
    use crate::checkpoint::Origin;

    fn entry(size: u64, leaves: Option<u64>) -> Entry {
        let stream = StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
        let hashes: Vec<Hash32> = (1..=size).map(|n| Hash32([n as u8; 32])).collect();
        let mut range = CompactRange::default();
        range.extend(&hashes);
        let checkpoint = Checkpoint {
            origin: Origin {
                deployment: "a.example".into(),
                stream,
                generation: 1,
            },
            size,
            root: range.root(),
            time: None,
            continues: None,
        };
        Entry {
            leaves: leaves.map(|first| LeavesOfFile {
                first,
                hashes: hashes[first as usize - 1..].to_vec(),
            }),
            peaks: range.peaks().to_vec(),
            note: checkpoint.sign(&SigningKey::from_bytes(&[1; 32])),
            checkpoint,
        }
    }

    fn read(text: &[u8]) -> Vec<Result<Entry, Flaw>> {
        let mut reader = EntryReader::new(text, 0);
        let mut all = Vec::new();
        while let Some(located) = reader.next_entry().unwrap() {
            all.push(located.entry);
        }
        assert_eq!(reader.offset(), text.len() as u64);
        all
    }

    #[test]
    fn what_is_written_reads_back() {
        let entries = [entry(3, Some(1)), entry(10, Some(4)), entry(12, None)];
        let text: String = entries.iter().map(Entry::to_text).collect();
        let again: Vec<Entry> = read(text.as_bytes()).into_iter().map(Result::unwrap).collect();
        assert_eq!(again, entries);
        let note = entries[2].note.to_string();
        for alone in [
            note.clone(),
            format!("{note}\n"),
            note.trim_end().to_owned(),
            note.replace('\n', "\r\n"),
        ] {
            let alone = read(alone.as_bytes());
            assert_eq!(alone.len(), 1);
            assert_eq!(alone[0].as_ref().map(|e| &e.note), Ok(&entries[2].note));
        }
    }

    #[test]
    fn a_note_that_was_added_as_it_is_counts_whatever_follows_it() {
        let (note, next) = (entry(3, None).note, entry(10, Some(4)));
        for between in ["", "\n"] {
            let text = format!("{note}{between}{}", next.to_text());
            let found = read(text.as_bytes());
            assert_eq!(found[0].as_ref().map(|e| &e.note), Ok(&note));
            assert_eq!(found[1..], [Ok(next.clone())]);
        }
    }

    /// Whatever one byte is changed to, and wherever the file ends: the other entries are read as they were.
    #[test]
    fn a_damaged_entry_costs_that_entry_and_no_other() {
        let entries = [entry(3, Some(1)), entry(10, Some(4)), entry(12, Some(11))];
        let texts: Vec<String> = entries.iter().map(Entry::to_text).collect();
        // Its last byte is what parts it from the next.
        let middle = texts[1].len() - 1;
        for at in 0..middle {
            for byte in [b'x', b'\n', 0xff] {
                let mut damaged = texts[1].clone().into_bytes();
                damaged[at] = byte;
                let all = [texts[0].as_bytes(), &damaged, texts[2].as_bytes()].concat();
                let found = read(&all);
                assert_eq!(found.first().unwrap().as_ref(), Ok(&entries[0]), "{at}");
                assert_eq!(found.last().unwrap().as_ref(), Ok(&entries[2]), "{at} {byte}");
            }
            let cut = [
                texts[0].as_bytes(),
                &texts[1].as_bytes()[..at],
                b"\n",
                texts[2].as_bytes(),
            ]
            .concat();
            let found = read(&cut);
            assert_eq!(found.first().unwrap().as_ref(), Ok(&entries[0]), "{at}");
            assert_eq!(found.last().unwrap().as_ref(), Ok(&entries[2]), "{at}");
        }
    }

    #[test]
    fn a_file_is_added_to_by_one_program_at_a_time_and_behind_what_was_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.checkpoints");
        let (one, two) = (entry(3, Some(1)), entry(10, Some(4)));
        let mut appender = Appender::open(&path).unwrap();
        let busy = Appender::open(&path).unwrap_err();
        assert_eq!(busy.kind(), io::ErrorKind::WouldBlock);
        appender.append(std::slice::from_ref(&one)).unwrap();
        drop(appender);
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(&two.to_text().as_bytes()[..100]);
        std::fs::write(&path, &text).unwrap();
        let mut appender = Appender::open(&path).unwrap();
        appender.append(std::slice::from_ref(&two)).unwrap();
        let mut reader = appender.read_from(0).unwrap();
        let mut found = Vec::new();
        while let Some(located) = reader.next_entry().unwrap() {
            found.push(located.entry);
        }
        assert!(
            matches!(&found[..], [Ok(a), Err(_), Ok(b)] if *a == one && *b == two),
            "{found:?}"
        );
        std::os::unix::fs::symlink(&path, folder.path().join("b.checkpoints")).unwrap();
        assert!(Appender::open(&folder.path().join("b.checkpoints")).is_err());
        assert_eq!(files_of(folder.path()).unwrap().len(), 2);
    }

    #[test]
    fn a_claim_of_many_leaves_takes_no_memory() {
        let text = format!("{HEADER}\nleaves 1-18446744073709551615\n");
        assert_eq!(read(text.as_bytes()), [Err(Flaw::Block("leaves"))]);
        let long = "x".repeat(3 * MAX_LINE as usize);
        assert!(read(long.as_bytes()).iter().all(Result::is_err));
    }
}
