//! A file that remembers what a service answered about one stream.
//!
//! It begins with a line of text (`FORMAT`, the service's address, tenant and store). Then come pages, each as u32 length ‖
//! the first 8 bytes of SHA-256(page) ‖ page, where a page is u64 start ‖ u64 end ‖ the answer as protobuf. Pages are only
//! ever added. A page that was not written to its end is cut off; a page that was changed since is an error, and the file is
//! left as it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use prost::Message as _;
use sha2::{Digest as _, Sha256};
use ves::StreamKey;
use ves::span::{Span, Spans};

use crate::address::Address;
use crate::messages::PullEventsResponse;
use crate::page::Page;

const FORMAT: &str = "sequencer-pages-1";
/// The longest first line, and the longest page: more than a service's largest answer.
const MAX_LINE: u64 = 1 << 10;
const MAX_PAGE: usize = 32 << 20;
const CHECK: usize = 8;

/// Why a kept file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct KeptError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

/// What a service answered about one stream, on disk. It is locked for as long as it is open.
#[derive(Debug)]
pub struct KeptPages {
    path: PathBuf,
    file: BufReader<File>,
    /// Where the next page begins.
    at: u64,
    length: u64,
    known: Spans,
    whole: bool,
}

impl KeptPages {
    /// Opens the file of a stream below `folder`, or makes it, for its owner alone.
    ///
    /// # Errors
    /// It cannot be written, is another's, or somebody else is writing it.
    pub fn open(folder: &Path, address: &Address, stream: &StreamKey) -> Result<Self, KeptError> {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || c == '.' {
                c
            } else {
                '-'
            }
        };
        let name: String = address
            .to_string()
            .replace("://", "-")
            .chars()
            .map(plain)
            .collect();
        let folder = folder.join(name);
        let path = folder.join(format!("{}_{}.pages", stream.tenant_id, stream.store_id));
        let failed = |what: String| KeptError {
            path: path.clone(),
            what,
        };
        make_folder(&folder).map_err(|error| failed(error.to_string()))?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&path).map_err(|error| failed(error.to_string()))?;
        file.try_lock()
            .map_err(|_| failed("somebody else is writing it".to_owned()))?;
        let head = format!("{FORMAT} {address} {} {}\n", stream.tenant_id, stream.store_id);
        let length = file.metadata().map_err(|error| failed(error.to_string()))?.len();
        let mut file = if length == 0 {
            file.write_all(head.as_bytes())
                .map_err(|error| failed(error.to_string()))?;
            BufReader::with_capacity(1 << 16, file)
        } else {
            BufReader::with_capacity(1 << 16, file)
        };
        file.rewind().map_err(|error| failed(error.to_string()))?;
        let mut line = String::new();
        let read = (&mut file).take(MAX_LINE).read_line(&mut line);
        if read.is_err() || line != head {
            return Err(failed(format!(
                "is not what was pulled of this stream from {address}"
            )));
        }
        Ok(Self {
            path,
            file,
            at: head.len() as u64,
            length: length.max(head.len() as u64),
            known: Spans::default(),
            whole: false,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The numbers that were answered for, as far as it was read.
    #[must_use]
    pub fn known(&self) -> &Spans {
        &self.known
    }

    fn failed(&self, what: impl Into<String>) -> KeptError {
        KeptError {
            path: self.path.clone(),
            what: what.into(),
        }
    }

    /// The next page that is kept; `None` after the last. Then it can be added to.
    ///
    /// # Errors
    /// It cannot be read, or was changed.
    pub fn next_page(&mut self) -> Result<Option<Page>, KeptError> {
        let io = |kept: &Self, error: io::Error| kept.failed(error.to_string());
        let mut head = [0; 4 + CHECK];
        let left = self.length - self.at;
        let mut page_length = 0;
        if left >= head.len() as u64 {
            self.file.read_exact(&mut head).map_err(|e| io(self, e))?;
            page_length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        }
        let whole = head.len() as u64 + page_length as u64;
        if left == 0 || left < whole || left < head.len() as u64 {
            return self.end(left > 0);
        }
        let changed = || {
            format!(
                "was changed since it was written, at byte {}: move it away",
                self.at
            )
        };
        if !(16..=MAX_PAGE).contains(&page_length) {
            return Err(self.failed(changed()));
        }
        let mut page = vec![0; page_length];
        self.file.read_exact(&mut page).map_err(|e| io(self, e))?;
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| page[at + i]));
        let right = Sha256::digest(&page)[..CHECK] == head[4..];
        let read = Span::new(number(0), number(8))
            .filter(|_| right)
            .and_then(|range| Some((range, PullEventsResponse::decode(&page[16..]).ok()?)))
            .and_then(|(range, answer)| Page::read(range, answer.head_sequence, answer.events).ok());
        let Some(page) = read else {
            return Err(self.failed(changed()));
        };
        self.at += whole;
        self.known.insert(page.range);
        Ok(Some(page))
    }

    fn end(&mut self, cut: bool) -> Result<Option<Page>, KeptError> {
        if cut {
            let file = self.file.get_ref();
            file.set_len(self.at)
                .map_err(|error| self.failed(error.to_string()))?;
            self.length = self.at;
        }
        self.file
            .seek(SeekFrom::End(0))
            .map_err(|error| self.failed(error.to_string()))?;
        self.whole = true;
        Ok(None)
    }

    /// Adds a page, and waits until it is on disk.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn add(&mut self, page: &Page) -> Result<(), KeptError> {
        debug_assert!(self.whole, "what is kept is read first");
        let answer = PullEventsResponse {
            events: page.raw.clone(),
            next_sequence: page.range.end().saturating_add(1),
            has_more: page.head > page.range.end(),
            head_sequence: page.head,
        };
        let mut body = Vec::new();
        body.extend_from_slice(&page.range.start().to_be_bytes());
        body.extend_from_slice(&page.range.end().to_be_bytes());
        body.extend_from_slice(&answer.encode_to_vec());
        let length = u32::try_from(body.len())
            .ok()
            .filter(|_| body.len() <= MAX_PAGE)
            .ok_or_else(|| self.failed("a page is too large to be kept"))?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.extend_from_slice(&Sha256::digest(&body)[..CHECK]);
        frame.extend_from_slice(&body);
        let file = self.file.get_mut();
        let written = file.write_all(&frame).and_then(|()| file.sync_data());
        written.map_err(|error| self.failed(error.to_string()))?;
        self.at += frame.len() as u64;
        self.length = self.at;
        self.known.insert(page.range);
        Ok(())
    }
}

/// Makes a folder for its owner alone, and those above it.
fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::messages::SequencedEvent;

    fn page(from: u64, to: u64) -> Page {
        let raw = (from..=to)
            .map(|sequence_number| {
                SequencedEvent {
                    sequence_number,
                    ..SequencedEvent::default()
                }
                .encode_to_vec()
            })
            .collect();
        Page::read(Span::new(from, to).unwrap(), 100, raw).unwrap()
    }

    fn stream() -> StreamKey {
        let id = "9c1b0b5e-6f0e-4f3a-8a55-0d1f5f6c7a11";
        StreamKey::new(id.parse().unwrap(), id.parse().unwrap())
    }

    fn address() -> Address {
        Address::recognise("grpc://[::1]:50051").unwrap().unwrap()
    }

    fn read(folder: &Path) -> (KeptPages, Vec<Page>) {
        let mut kept = KeptPages::open(folder, &address(), &stream()).unwrap();
        let mut pages = Vec::new();
        while let Some(page) = kept.next_page().unwrap() {
            pages.push(page);
        }
        (kept, pages)
    }

    #[test]
    fn what_is_kept_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (mut kept, pages) = read(folder.path());
        assert!(pages.is_empty());
        let path = kept.path().to_owned();
        kept.add(&page(1, 10)).unwrap();
        let first = fs::metadata(&path).unwrap().len() as usize;
        kept.add(&page(21, 30)).unwrap();
        assert!(
            KeptPages::open(folder.path(), &address(), &stream()).is_err(),
            "it is locked"
        );
        drop(kept);
        let (kept, pages) = read(folder.path());
        assert_eq!(pages, [page(1, 10), page(21, 30)]);
        assert_eq!(kept.known().to_string(), "1-10, 21-30");
        drop(kept);

        // A page that was not written to its end is cut off, wherever that was.
        let whole = fs::read(&path).unwrap();
        for cut in [whole.len() - 1, first + 20, first + 5] {
            fs::write(&path, &whole[..cut]).unwrap();
            let (mut kept, pages) = read(folder.path());
            assert_eq!(pages, [page(1, 10)]);
            kept.add(&page(21, 30)).unwrap();
            drop(kept);
            assert_eq!(fs::read(&path).unwrap(), whole);
        }

        // One that was changed is no page, and nothing is cut off.
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1;
        fs::write(&path, &changed).unwrap();
        let mut kept = KeptPages::open(folder.path(), &address(), &stream()).unwrap();
        assert!(kept.next_page().unwrap().is_some());
        let error = kept.next_page().unwrap_err().to_string();
        assert!(error.contains("was changed"), "{error}");
        drop(kept);
        assert_eq!(fs::read(&path).unwrap(), changed);

        // Another's file.
        fs::write(&path, b"something else\n").unwrap();
        let error = KeptPages::open(folder.path(), &address(), &stream()).unwrap_err();
        assert!(error.to_string().contains("is not what was pulled"), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn it_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptPages::open(&folder.path().join("a"), &address(), &stream()).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(kept.path()), mode(kept.path().parent().unwrap())),
            (0o600, 0o700)
        );
    }
}
