//! Input files as people hand them over: with a mark of the encoding, from a pipe, in UTF-16 by mistake.
//!
//! Everything that is read as text comes through here, so that each of these is read, or refused in one clear sentence, by
//! every tool alike. Errors are [`io::Error`]s that read after "FILE: ".

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempPath;

use crate::leftovers;

/// How much is read from a file at once.
const BUFFER: usize = 1 << 18;
/// The mark that some programs put before UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Opens a file that is read as text, once, from its beginning to its end. A mark before UTF-8 is passed over.
///
/// # Errors
/// It cannot be read, is a folder, or is UTF-16.
pub fn open_text(path: &Path) -> io::Result<BufReader<File>> {
    let mut reader = BufReader::with_capacity(BUFFER, open(path)?);
    let start = reader.fill_buf()?;
    check_encoding(start)?;
    if start.starts_with(MARK) {
        reader.consume(MARK.len());
    }
    Ok(reader)
}

/// Reads a whole file of text, of at most `limit` bytes, as [`open_text`] does.
///
/// # Errors
/// As [`open_text`]; it is longer, or no UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let mut text = String::new();
    let read = open_text(path)?
        .take(limit.saturating_add(1))
        .read_to_string(&mut text);
    let length = read.map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => refused("is not text in UTF-8"),
        _ => error,
    })?;
    if length as u64 > limit {
        return Err(refused(&format!("has more than {limit} bytes")));
    }
    Ok(text)
}

/// A file that can be opened as often as one likes: what comes from a pipe is kept in a temporary file meanwhile.
#[derive(Debug, Clone)]
pub struct InputFile {
    shown: PathBuf,
    kept: Option<Arc<TempPath>>,
}

impl InputFile {
    /// Looks at what lies there, and reads a pipe to its end.
    ///
    /// # Errors
    /// It is not there, is a folder, or there is no room for what comes from the pipe.
    pub fn new(path: &Path) -> io::Result<Self> {
        let meta = path.metadata()?;
        if meta.is_dir() {
            return Err(refused("is a folder"));
        }
        let kept = match meta.is_file() {
            true => None,
            false => Some(Arc::new(keep(path)?)),
        };
        Ok(Self {
            shown: path.to_owned(),
            kept,
        })
    }

    /// As it was named, for messages.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Where it can be read.
    pub fn path(&self) -> &Path {
        match &self.kept {
            Some(kept) => kept,
            None => &self.shown,
        }
    }
}

/// Copies what comes from a pipe to a temporary file.
fn keep(path: &Path) -> io::Result<TempPath> {
    let mut file = leftovers::noted(tempfile::NamedTempFile::new, tempfile::NamedTempFile::path)?;
    io::copy(&mut File::open(path)?, &mut file).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("could not be kept in {}: {error}", file.path().display()),
        )
    })?;
    file.flush()?;
    Ok(file.into_temp_path())
}

/// Opens a file for reading.
fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(refused("is a folder"));
    }
    Ok(file)
}

/// Refuses UTF-16, which Windows' shells write: half of its bytes are zero.
fn check_encoding(start: &[u8]) -> io::Result<()> {
    let marked = start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]);
    let unmarked = matches!(
        start,
        [0, 1..=0x7f, 0, 1..=0x7f, ..] | [1..=0x7f, 0, 1..=0x7f, 0, ..]
    );
    if marked || unmarked {
        return Err(refused(
            "is text in UTF-16: convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)",
        ));
    }
    Ok(())
}

/// Whether text begins so, behind a mark and white space. A pipe is not opened, and begins with nothing.
pub fn begins_with(path: &Path, start: &[u8]) -> bool {
    if !path.metadata().is_ok_and(|meta| meta.is_file()) {
        return false;
    }
    let mut bytes = [0; 64];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::Start(0))?;
        file.read(&mut bytes)
    });
    let bytes = &bytes[..read.unwrap_or(0)];
    let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
    bytes.trim_ascii_start().starts_with(start)
}

fn refused(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn a_mark_is_passed_over_and_utf_16_is_refused() {
        for text in ["{}", "\u{feff}{}"] {
            assert_eq!(read_text(file(text.as_bytes()).path(), 9).unwrap(), "{}");
            assert!(begins_with(file(format!("{text}\n").as_bytes()).path(), b"{"));
        }
        let utf16 = |mark: &[u8], order: fn(u16) -> [u8; 2]| {
            let text: Vec<u8> = "{\"a\":1}".encode_utf16().flat_map(order).collect();
            file(&[mark, &text].concat())
        };
        for bad in [
            utf16(&[0xff, 0xfe], u16::to_le_bytes),
            utf16(&[0xfe, 0xff], u16::to_be_bytes),
            utf16(&[], u16::to_le_bytes),
            utf16(&[], u16::to_be_bytes),
        ] {
            assert!(
                read_text(bad.path(), 99)
                    .unwrap_err()
                    .to_string()
                    .contains("UTF-16")
            );
        }
        assert!(
            read_text(file(b"\xff").path(), 9)
                .unwrap_err()
                .to_string()
                .contains("UTF-8")
        );
        assert!(
            read_text(file(b"0123456789").path(), 9)
                .unwrap_err()
                .to_string()
                .contains("more than 9 bytes")
        );
        assert!(
            read_text(std::env::temp_dir().as_path(), 9)
                .unwrap_err()
                .to_string()
                .contains("folder")
        );
    }

    #[cfg(unix)]
    #[test]
    fn what_comes_from_a_pipe_can_be_read_twice() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let writer = {
            let pipe = pipe.clone();
            std::thread::spawn(move || std::fs::write(pipe, "content").unwrap())
        };
        let input = InputFile::new(&pipe).unwrap();
        writer.join().unwrap();
        for _ in 0..2 {
            assert_eq!(read_text(input.path(), 99).unwrap(), "content");
        }
        assert_eq!(input.shown(), pipe);
        let kept = input.path().to_owned();
        drop(input);
        assert!(!kept.exists());
        let plain = file(b"x");
        assert_eq!(InputFile::new(plain.path()).unwrap().path(), plain.path());
        assert!(InputFile::new(dir.path()).is_err());
    }
}
