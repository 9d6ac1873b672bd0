//! Files that end in their own digest: one JSON object a line, the first names the format's version, the last tells the
//! SHA-256 of all lines before it. Plans and undo bundles are such files. The digest protects from accidents, not from
//! attackers.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use cli_common::files::{self, InputFile};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use ves::Hash32;

/// A longer line than this is neither read nor written: the sequencer takes no event larger than 10 MiB.
pub(crate) const MAX_LINE: u64 = 128 * 1024 * 1024;

/// Why a plan, or another file that ends in its own digest, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SealedFileError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The file is not of this kind and version.
    #[error("{}: not a file of version {wanted}: {found}", path.display())]
    Schema {
        /// The file.
        path: PathBuf,
        /// What it should be.
        wanted: &'static str,
        /// What stands there instead.
        found: String,
    },
    /// A line cannot be understood, or stands where it must not.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The digest in the last line is not that of the lines before.
    #[error("{}: the file was changed after it was made (its digest is {found}, the file says {written})", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The digest of the file as it is.
        found: Hash32,
        /// The digest that its last line tells.
        written: Hash32,
    },
    /// The last line is missing.
    #[error("{}: the file ends early, after line {line}: it was cut off", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// The last line read.
        line: u64,
    },
}

/// A file that is read more than once.
pub(crate) fn input_file(path: &Path) -> Result<InputFile, SealedFileError> {
    InputFile::new(path).map_err(|source| SealedFileError::Io {
        path: path.into(),
        source,
    })
}

/// The lines of a file whose first names its version and whose last tells the digest of those before.
pub(crate) struct Lines {
    pub(crate) path: PathBuf,
    /// The versions that are read, the present one first.
    schemas: &'static [&'static str],
    reader: BufReader<File>,
    digest: Sha256,
    /// The digest of everything before the line that was read last.
    pub(crate) digest_before_last: Hash32,
    /// How many lines were read.
    pub(crate) number: u64,
    offset: u64,
}

/// A place between two lines, to go on from.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    digest: Sha256,
    number: u64,
    offset: u64,
}

impl Lines {
    pub(crate) fn open(file: &InputFile, schemas: &'static [&'static str]) -> Result<Self, SealedFileError> {
        let reader = files::open_text(file.path()).map_err(|source| SealedFileError::Io {
            path: file.shown().into(),
            source,
        })?;
        Ok(Self {
            path: file.shown().into(),
            schemas,
            reader,
            digest: Sha256::new(),
            digest_before_last: Hash32::ZERO,
            number: 0,
            offset: 0,
        })
    }

    /// Where the next line begins.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            digest: self.digest.clone(),
            number: self.number,
            offset: self.offset,
        }
    }

    /// Opens a file again where it was marked.
    pub(crate) fn resume(
        file: &InputFile,
        schemas: &'static [&'static str],
        mark: &Mark,
    ) -> Result<Self, SealedFileError> {
        let mut lines = Self::open(file, schemas)?;
        // Counted from the first line on, behind a mark of the encoding.
        let offset = i64::try_from(mark.offset).unwrap_or(i64::MAX);
        lines
            .reader
            .seek_relative(offset)
            .map_err(|source| SealedFileError::Io {
                path: file.shown().into(),
                source,
            })?;
        lines.digest = mark.digest.clone();
        lines.number = mark.number;
        lines.offset = mark.offset;
        Ok(lines)
    }

    pub(crate) fn next_raw(&mut self) -> Result<Option<Vec<u8>>, SealedFileError> {
        use std::io::Read as _;
        let mut line = Vec::new();
        let read = (&mut self.reader)
            .take(MAX_LINE)
            .read_until(b'\n', &mut line)
            .map_err(|source| SealedFileError::Io {
                path: self.path.clone(),
                source,
            })?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        self.offset += read as u64;
        if line.last() != Some(&b'\n') {
            if read as u64 == MAX_LINE {
                let what = format!("longer than {MAX_LINE} bytes");
                return Err(SealedFileError::Line {
                    path: self.path.clone(),
                    line: self.number,
                    what,
                });
            }
            return Err(SealedFileError::Truncated {
                path: self.path.clone(),
                line: self.number,
            });
        }
        // Line ends of Windows, from a way that took the file for text. The digest is of the lines as they were written.
        if line.ends_with(b"\r\n") {
            line.truncate(line.len() - 2);
            line.push(b'\n');
        }
        self.digest_before_last = Hash32(self.digest.clone().finalize().into());
        self.digest.update(&line);
        Ok(Some(line))
    }

    pub(crate) fn next_line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, SealedFileError> {
        self.next_by(|raw| serde_json::from_slice(raw))
    }

    /// The next line, read by `read`.
    pub(crate) fn next_by<T>(
        &mut self,
        read: impl FnOnce(&[u8]) -> serde_json::Result<T>,
    ) -> Result<Option<T>, SealedFileError> {
        let Some(raw) = self.next_raw()? else {
            return Ok(None);
        };
        if self.number == 1 {
            // Another version may have another header: look at its name before its fields.
            let found = serde_json::from_slice::<serde_json::Value>(&raw)
                .ok()
                .and_then(|v| v.get("schema")?.as_str().map(str::to_owned));
            let found = match found {
                Some(schema) if self.schemas.contains(&schema.as_str()) => None,
                Some(schema) => Some(schema),
                None => Some("its first line is no header".into()),
            };
            if let Some(found) = found {
                return Err(SealedFileError::Schema {
                    path: self.path.clone(),
                    wanted: self.schemas[0],
                    found,
                });
            }
        }
        read(&raw).map(Some).map_err(|e| SealedFileError::Line {
            path: self.path.clone(),
            line: self.number,
            what: e.to_string(),
        })
    }
}
