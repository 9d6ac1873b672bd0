//! A file that is written while others read and hash: as fast as the disk takes it, and on disk at the end.
//!
//! Written the usual way, a large file lies in the page cache when the program has written its last byte, and putting it on
//! disk then takes longer than all the work before it. So blocks are written past the page cache where the file system can
//! do that (`O_DIRECT`), by a thread that does nothing else. The page cache stays with the programs that need it.

use std::fs::File;
use std::io;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

/// How much is written at once.
const BLOCK: usize = 1 << 20;
/// What writing past the page cache asks of addresses, lengths and places: the page size suits all disks.
const ALIGNMENT: usize = 4096;
/// How many blocks wait to be written at most.
const WAITING: usize = 3;

/// Bytes that begin at an aligned address.
struct Block {
    memory: Box<[u8]>,
    start: usize,
    filled: usize,
}

impl Block {
    fn new() -> Self {
        let memory = vec![0; BLOCK + ALIGNMENT].into_boxed_slice();
        let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self {
            memory,
            start,
            filled: 0,
        }
    }

    /// Takes as many bytes as there is room for, and returns the others.
    fn fill<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (now, later) = bytes.split_at(bytes.len().min(BLOCK - self.filled));
        let at = self.start + self.filled;
        self.memory[at..at + now.len()].copy_from_slice(now);
        self.filled += now.len();
        later
    }

    fn filled(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.filled]
    }

    /// What is filled, and zeros up to a length that may be written past the page cache.
    fn padded(&mut self) -> &[u8] {
        let length = self.filled.next_multiple_of(ALIGNMENT);
        self.memory[self.start + self.filled..self.start + length].fill(0);
        &self.memory[self.start..self.start + length]
    }
}

/// A file, hashed while it is written.
pub(crate) struct Sink {
    file: File,
    hash: Sha256,
    /// Of the bytes so far, those in `block` included.
    bytes: u64,
    block: Block,
    writer: Option<Writer>,
}

/// The thread that writes. A block is written at its place, and handed back.
struct Writer {
    full: SyncSender<(Block, u64)>,
    empty: Receiver<Block>,
    thread: JoinHandle<io::Result<()>>,
}

/// A point to go back to.
pub(crate) struct SinkMark {
    hash: Sha256,
    bytes: u64,
    block: Vec<u8>,
}

impl Sink {
    /// Writes from the beginning of a file.
    pub(crate) fn new(file: File) -> Self {
        Self {
            file,
            hash: Sha256::new(),
            bytes: 0,
            block: Block::new(),
            writer: None,
        }
    }

    /// Appends bytes.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
        let mut rest = bytes;
        loop {
            rest = self.block.fill(rest);
            if rest.is_empty() && self.block.filled < BLOCK {
                return Ok(());
            }
            let place = self.bytes - (rest.len() + self.block.filled) as u64;
            let next = self.writer()?.empty.try_recv().ok();
            let full = std::mem::replace(&mut self.block, next.unwrap_or_else(Block::new));
            self.block.filled = 0;
            if self.writer()?.full.send((full, place)).is_err() {
                return Err(self.failure());
            }
        }
    }

    /// Where the file is now.
    pub(crate) fn mark(&self) -> SinkMark {
        SinkMark {
            hash: self.hash.clone(),
            bytes: self.bytes,
            block: self.block.filled().to_vec(),
        }
    }

    /// Forgets what was appended since.
    pub(crate) fn rewind(&mut self, to: &SinkMark) {
        self.hash = to.hash.clone();
        self.bytes = to.bytes;
        self.block.filled = 0;
        self.block.fill(&to.block);
    }

    /// Writes what is left and waits until all of it is on disk. The bytes and their SHA-256.
    pub(crate) fn finish(mut self) -> io::Result<(u64, [u8; 32])> {
        let place = self.bytes - self.block.filled as u64;
        match self.writer.take() {
            Some(writer) => {
                let Writer { full, empty, thread } = writer;
                // If it failed, the thread tells why.
                let _ = full.send((self.block, place));
                drop((full, empty));
                joined(thread)?;
            }
            None => write_at(&self.file, self.block.filled(), place)?,
        }
        // The last block was padded, and there may be more after a rewind.
        self.file.set_len(self.bytes)?;
        self.file.sync_all()?;
        Ok((self.bytes, self.hash.finalize().into()))
    }

    fn writer(&mut self) -> io::Result<&Writer> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::start(self.file.try_clone()?)?,
        };
        Ok(self.writer.insert(writer))
    }

    fn failure(&mut self) -> io::Error {
        let thread = self.writer.take().map(|writer| writer.thread);
        thread
            .and_then(|thread| joined(thread).err())
            .unwrap_or_else(|| io::Error::other("the file could not be written"))
    }
}

fn joined(thread: JoinHandle<io::Result<()>>) -> io::Result<()> {
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread that writes the file is gone")))
}

impl Writer {
    fn start(file: File) -> io::Result<Self> {
        let (full, blocks): (_, Receiver<(Block, u64)>) = sync_channel(WAITING);
        let (emptied, empty): (Sender<Block>, _) = channel();
        let thread = std::thread::Builder::new()
            .name("export-file".into())
            .spawn(move || {
                let mut direct = set_direct(&file, true);
                for (mut block, place) in blocks {
                    let written = write_at(&file, block.padded(), place);
                    if direct && written.is_err() {
                        // A file system may refuse only now.
                        direct = set_direct(&file, false);
                        write_at(&file, block.padded(), place)?;
                    } else {
                        written?;
                    }
                    // Nobody may be left to take it.
                    let _ = emptied.send(block);
                }
                Ok(())
            })?;
        Ok(Self { full, empty, thread })
    }
}

/// Switches writing past the page cache on or off; whether it is on.
#[cfg(target_os = "linux")]
fn set_direct(file: &File, on: bool) -> bool {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    let set = |flags: OFlags| {
        let flags = if on {
            flags | OFlags::DIRECT
        } else {
            flags - OFlags::DIRECT
        };
        fcntl_setfl(file, flags)
    };
    fcntl_getfl(file).and_then(set).is_ok() && on
}

#[cfg(not(target_os = "linux"))]
fn set_direct(_: &File, _: bool) -> bool {
    false
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], place: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, place)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8], place: u64) -> io::Result<()> {
    use std::io::{Seek as _, Write as _};

    file.seek(io::SeekFrom::Start(place))?;
    file.write_all(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(seed: usize, size: usize) -> Vec<u8> {
        (0..size).map(|i| (i * 31 + seed * 7 + i / 251) as u8).collect()
    }

    #[test]
    fn the_file_is_what_was_appended_also_after_going_back() {
        let sizes = [
            (0, 1),
            (3, 100),
            (1, BLOCK),
            (2, BLOCK),
            (700, 4999),
            (3, BLOCK + 1),
            (4, 3 * BLOCK),
        ];
        for (pieces, size) in sizes {
            for back in [false, true] {
                let file = tempfile::NamedTempFile::new().unwrap();
                let mut sink = Sink::new(file.reopen().unwrap());
                let mut expected = Vec::new();
                for piece in 0..pieces {
                    if back {
                        let mark = sink.mark();
                        sink.append(&bytes(piece + 99, size * 2)).unwrap();
                        sink.rewind(&mark);
                    }
                    sink.append(&bytes(piece, size)).unwrap();
                    expected.extend(bytes(piece, size));
                }
                let (length, hash) = sink.finish().unwrap();
                let found = std::fs::read(file.path()).unwrap();
                assert!(found == expected, "{pieces} of {size}, {back}");
                assert_eq!(length, expected.len() as u64);
                assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(&expected)));
            }
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_said() {
        let full = || Sink::new(File::options().write(true).open("/dev/full").unwrap());
        let mut sink = full();
        let failed = (0..64).find_map(|_| sink.append(&bytes(1, BLOCK)).err());
        let failed = failed.unwrap_or_else(|| sink.finish().unwrap_err());
        assert_eq!(failed.kind(), io::ErrorKind::StorageFull);
        let mut sink = full();
        sink.append(b"little").unwrap();
        assert_eq!(sink.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
