//! The undo bundle: what an `apply` did, so that `undo` can take it back. One JSON object a line, as in a plan.
//!
//! The first line is the [`UndoHeader`]. For each stream follow its [`UndoLine::Stream`], the rows that were changed, each as
//! it was and as it is since ([`Change`]), and an [`UndoLine::Sealed`] with the digest of everything before it: a section
//! is sealed, and is on disk, before the stream's transaction is committed. The last line has the digest of the whole
//! file. A file that ends earlier was cut off, or the apply that wrote it was killed. Documented in docs/undo.md.

pub mod change;
mod older;

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;

use cli_common::files::InputFile;

use cli_common::provenance::Provenance;
use event_log::Commitment;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ves::{Hash32, StreamKey, Timestamp};

use crate::error::RecoveryError;
use crate::new_file::{NewFile, io_error};
use crate::sealed_file::Lines;
use crate::sealed_file::Mark;
use crate::sealed_file::SealedFileError;
use crate::sealed_file::input_file;
use change::Change;

/// The format's name and version.
pub const SCHEMA: &str = "recovery-undo/2";

/// What is read: bundles of older releases, too.
const READ: &[&str] = &[SCHEMA, older::SCHEMA];

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoHeader {
    /// [`SCHEMA`], or that of an older release.
    pub schema: String,
    /// When the apply began.
    pub made_at: Timestamp,
    /// What made it, with its version.
    pub tool: String,
    /// Where it comes from; older ones do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Box<Provenance>>,
    /// The log that was changed, without secrets.
    pub db: String,
    /// The plan that was applied.
    pub plan_id: Hash32,
}

/// Opens a stream's section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// What it looked like before: the plan's fingerprint of it.
    pub fingerprint_before: Hash32,
    /// The counter before; `None` if its row was missing.
    pub counter_before: Option<u64>,
}

/// Closes a stream's section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UndoSealed {
    /// What the stream looked like afterwards, see [`crate::stream::fingerprint`].
    pub fingerprint_after: Hash32,
    /// The counter afterwards.
    pub counter_after: u64,
    /// The last number afterwards, 0 if the stream stayed empty.
    pub head_after: u64,
    /// How many commitments it had afterwards.
    pub commitments_after: u64,
    /// Which of them were anchored; bundles of older releases do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchored_after: Option<Anchored>,
    /// How many lines stand before this one.
    pub lines: u64,
    /// SHA-256 of all bytes before this line.
    pub sha256: Hash32,
}

/// Which commitments of a stream are anchored, and by what: what a fingerprint does not bind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchored {
    /// How many have a transaction on the chain.
    pub count: u64,
    /// SHA-256 over `ANCHORED` and, for each of them in order, batch_id ‖ chain_tx_hash.
    pub sha256: Hash32,
}

impl Anchored {
    /// Of these commitments, in the order of their ranges.
    pub fn of(commitments: &[Commitment]) -> Self {
        let mut preimage = ves::digest::Preimage::new("ANCHORED");
        let mut count = 0;
        for commitment in commitments {
            if let Some(transaction) = &commitment.chain_tx_hash {
                preimage = preimage
                    .bytes(commitment.batch_id.as_bytes())
                    .bytes(&transaction.0);
                count += 1;
            }
        }
        Self {
            count,
            sha256: preimage.finish(),
        }
    }
}

/// One line of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum UndoLine {
    /// The first line.
    Undo(UndoHeader),
    /// Opens a stream's section.
    Stream(UndoStream),
    /// A row was changed.
    Row(Change),
    /// Closes a stream's section.
    Sealed(UndoSealed),
    /// The last line.
    End {
        /// How many lines stand before it.
        lines: u64,
        /// SHA-256 of all bytes before this line.
        sha256: Hash32,
    },
}

/// What most lines of a plan change takes so much of a bundle at most: an event with its receipt, its command and its entity.
const OF_A_LINE: u64 = 500;

/// Writes a bundle while a plan is applied. Once a write has failed nothing more is written: what was sealed until then
/// stays, and is a bundle that was interrupted.
pub struct UndoWriter {
    file: NewFile,
    /// Lines that are not in the file yet.
    pending: Vec<u8>,
    at: Place,
    /// Where the section begins that is not committed yet.
    section: Option<Place>,
    sealed: bool,
    failed: Option<String>,
}

/// A place between two lines.
#[derive(Clone, Default)]
struct Place {
    digest: Sha256,
    lines: u64,
    bytes: u64,
}

/// So much waits before it is written.
const PENDING: usize = 64 << 10;

impl UndoWriter {
    /// Begins a bundle, with room for what about `lines` lines of a plan change. An existing file is never written over: it
    /// may be the only way back from another apply.
    ///
    /// # Errors
    /// If the file exists already, cannot be written, or there is no room for it.
    pub fn create(path: &Path, header: &UndoHeader, lines: u64) -> Result<Self, RecoveryError> {
        let mut writer = Self {
            file: NewFile::create(path, lines.saturating_mul(OF_A_LINE))?,
            pending: Vec::new(),
            at: Place::default(),
            section: None,
            sealed: false,
            failed: None,
        };
        writer.line(&UndoLine::Undo(header.clone()))?;
        writer.sync()?;
        writer.file.keep();
        Ok(writer)
    }

    /// Begins a stream's section.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn begin(&mut self, stream: UndoStream) -> Result<(), RecoveryError> {
        self.section = Some(self.at.clone());
        self.sealed = false;
        self.line(&UndoLine::Stream(stream))
    }

    /// Appends a line.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn line(&mut self, line: &UndoLine) -> Result<(), RecoveryError> {
        let mut text = serde_json::to_vec(line).map_err(|e| io_error(self.file.path(), e.into()))?;
        text.push(b'\n');
        self.pending.extend_from_slice(&text);
        self.at.digest.update(&text);
        self.at.lines += 1;
        self.at.bytes += text.len() as u64;
        if self.pending.len() < PENDING {
            return Ok(());
        }
        self.write()
    }

    /// Closes the section, and has everything on disk when it returns.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn seal(&mut self, mut sealed: UndoSealed) -> Result<(), RecoveryError> {
        sealed.lines = self.at.lines;
        sealed.sha256 = Hash32(self.at.digest.clone().finalize().into());
        self.line(&UndoLine::Sealed(sealed))?;
        self.sync()?;
        self.sealed = true;
        Ok(())
    }

    /// The section's transaction is committed.
    pub fn keep(&mut self) {
        self.section = None;
    }

    /// Takes back a section that was not sealed: its transaction is not committed. One that was sealed stays: whether
    /// its transaction was committed is not known, and undo finds out.
    pub fn discard(&mut self) {
        if self.sealed {
            self.section = None;
        }
        self.withdraw();
    }

    /// Takes back the section, sealed or not: its transaction is certainly not committed.
    pub fn withdraw(&mut self) {
        let Some(begin) = self.section.take() else {
            return;
        };
        self.pending.clear();
        let mut file = self.file.file();
        let cut = file
            .set_len(begin.bytes)
            .and_then(|()| file.seek(SeekFrom::Start(begin.bytes)));
        if let Err(error) = cut {
            self.failed.get_or_insert(error.to_string());
        }
        self.at = begin;
    }

    /// Writes the last line.
    ///
    /// # Errors
    /// If the file cannot be written, now or before.
    pub fn finish(mut self) -> Result<(), RecoveryError> {
        self.discard();
        let (lines, sha256) = (self.at.lines, Hash32(self.at.digest.clone().finalize().into()));
        self.section = Some(self.at.clone());
        let closed = self
            .line(&UndoLine::End { lines, sha256 })
            .and_then(|()| self.sync());
        if closed.is_err() {
            // Without half a line at its end.
            self.withdraw();
            return closed;
        }
        // Room that was not needed is given back.
        let _ = self.file.file().set_len(self.at.bytes);
        Ok(())
    }

    fn write(&mut self) -> Result<(), RecoveryError> {
        let path = self.file.path();
        if let Some(before) = &self.failed {
            let what = format!("it could not be written before ({before})");
            return Err(io_error(path, std::io::Error::other(what)));
        }
        let mut file = self.file.file();
        if let Err(source) = file.write_all(&self.pending) {
            self.failed = Some(source.to_string());
            return Err(io_error(path, source));
        }
        self.pending.clear();
        Ok(())
    }

    fn sync(&mut self) -> Result<(), RecoveryError> {
        self.write()?;
        let synced = self.file.file().sync_all();
        if let Err(source) = &synced {
            self.failed = Some(source.to_string());
        }
        synced.map_err(|source| io_error(self.file.path(), source))
    }
}

/// A bundle whose digests hold.
#[derive(Debug, Clone)]
pub struct UndoFile {
    file: InputFile,
    header: UndoHeader,
    id: Hash32,
    complete: bool,
    sections: Vec<UndoSection>,
}

/// A stream's section.
#[derive(Debug, Clone)]
pub struct UndoSection {
    /// The line that opens it.
    pub opened: UndoStream,
    /// The line that closes it.
    pub sealed: UndoSealed,
    mark: Mark,
}

impl UndoFile {
    /// Opens a bundle and checks the whole file: version, structure and digests. With `interrupted`, one without its
    /// last line is taken too, up to the last section that was sealed.
    ///
    /// # Errors
    /// See [`SealedFileError`].
    pub fn open(path: &Path, interrupted: bool) -> Result<Self, SealedFileError> {
        let input = input_file(path)?;
        let mut lines = Lines::open(&input, READ)?;
        let Some(UndoLine::Undo(header)) = lines.next_line()? else {
            return Err(SealedFileError::Schema {
                path: path.into(),
                wanted: SCHEMA,
                found: "its first line is no header".into(),
            });
        };
        let mut file = Self {
            file: input,
            header,
            id: Hash32::ZERO,
            complete: false,
            sections: Vec::new(),
        };
        let mut section: Option<(UndoStream, Mark)> = None;
        loop {
            let line = match file.read(&mut lines) {
                Ok(Some((line, _))) => line,
                // What follows the last seal was never committed. A line cut in its middle is the end too.
                Ok(None) | Err(SealedFileError::Truncated { .. }) if interrupted => return Ok(file),
                Ok(None) => {
                    return Err(SealedFileError::Truncated {
                        path: path.into(),
                        line: lines.number,
                    });
                }
                Err(error) => return Err(error),
            };
            let bad = |what: &str| SealedFileError::Line {
                path: path.into(),
                line: lines.number,
                what: what.into(),
            };
            let digest = |count: u64, written: Hash32| {
                let found = lines.digest_before_last;
                if found == written && Some(count) == lines.number.checked_sub(1) {
                    return Ok(written);
                }
                Err(SealedFileError::Altered {
                    path: path.into(),
                    found,
                    written,
                })
            };
            match (line, section.take()) {
                (UndoLine::Undo(_), _) => return Err(bad("a second header")),
                (UndoLine::Stream(_), Some(_)) => return Err(bad("the stream before was not sealed")),
                (UndoLine::Stream(opened), None) => section = Some((opened, lines.mark())),
                (UndoLine::Sealed(sealed), Some((opened, mark))) => {
                    file.id = digest(sealed.lines, sealed.sha256)?;
                    file.sections.push(UndoSection { opened, sealed, mark });
                }
                (UndoLine::End { lines: count, sha256 }, None) => {
                    file.id = digest(count, sha256)?;
                    break;
                }
                (UndoLine::End { .. }, Some(_)) => return Err(bad("the last stream was not sealed")),
                (_, None) => return Err(bad("a line of no stream")),
                (_, open @ Some(_)) => section = open,
            }
        }
        if lines.next_raw()?.is_some() {
            return Err(SealedFileError::Line {
                path: path.into(),
                line: lines.number,
                what: "text after the end of the file".into(),
            });
        }
        file.complete = true;
        Ok(file)
    }

    /// The first line.
    pub fn header(&self) -> &UndoHeader {
        &self.header
    }

    /// The digest in the last line, or in the last seal.
    pub fn id(&self) -> Hash32 {
        self.id
    }

    /// Whether its last line is there.
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// The streams that were changed.
    pub fn sections(&self) -> &[UndoSection] {
        &self.sections
    }

    /// The rows that a section says were changed.
    ///
    /// # Errors
    /// If the file cannot be opened again.
    pub fn changes(&self, section: &UndoSection) -> Result<Changes<'_>, SealedFileError> {
        Ok(Changes {
            bundle: self,
            lines: Lines::resume(&self.file, READ, &section.mark)?,
            sealed: section.sealed.sha256,
            second: None,
            ended: false,
        })
    }

    /// The next line, and what else it says if it is one of an older release.
    fn read(&self, lines: &mut Lines) -> Result<Option<(UndoLine, Option<Change>)>, SealedFileError> {
        if self.header.schema == older::SCHEMA {
            return Ok(lines.next_line::<older::Line>()?.map(older::Line::now));
        }
        Ok(lines.next_line()?.map(|line| (line, None)))
    }
}

/// See [`UndoFile::changes`].
pub struct Changes<'a> {
    bundle: &'a UndoFile,
    lines: Lines,
    sealed: Hash32,
    /// What the line that was read last says besides.
    second: Option<Change>,
    ended: bool,
}

impl Changes<'_> {
    /// The next row; `None` at the end of the section.
    ///
    /// # Errors
    /// See [`SealedFileError`]; a file that changed since it was opened is `Altered`.
    #[expect(
        clippy::should_implement_trait,
        reason = "a Result of an Option reads better with `?`"
    )]
    pub fn next(&mut self) -> Result<Option<Change>, SealedFileError> {
        if self.second.is_some() || self.ended {
            return Ok(self.second.take());
        }
        match self.bundle.read(&mut self.lines)? {
            Some((UndoLine::Row(change), second)) => {
                self.second = second;
                Ok(Some(change))
            }
            Some((UndoLine::Sealed(sealed), _))
                if sealed.sha256 == self.sealed && self.lines.digest_before_last == self.sealed =>
            {
                self.ended = true;
                Ok(None)
            }
            Some(_) => Err(SealedFileError::Altered {
                path: self.lines.path.clone(),
                found: self.lines.digest_before_last,
                written: self.sealed,
            }),
            None => Err(SealedFileError::Truncated {
                path: self.lines.path.clone(),
                line: self.lines.number,
            }),
        }
    }

    /// Refuses the row that was read last.
    pub(crate) fn refused(&self, what: &str) -> SealedFileError {
        SealedFileError::Line {
            path: self.lines.path.clone(),
            line: self.lines.number,
            what: what.into(),
        }
    }
}

#[cfg(test)]
mod tests;
