//! Receipts of a push, saved as they come: evidence, and what a later run goes on from.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ves::{Event, EventId, Hash32, Receipt, SequencerKeys, SignatureCheck, receipt::receipt_hash};

use super::GroupKey;
use super::journal::{Journal, Passed, end_line};
use crate::error::FileError;
use crate::receipts::for_each_receipt;

/// The room that a receipt takes, at least: one with an Ed25519 signature has about 500 bytes.
const RECEIPT_BYTES: u64 = 640;

/// A file of receipts that grows, and beside it the notes of what was sent.
#[derive(Debug)]
pub struct Evidence {
    file: File,
    path: PathBuf,
    known: HashMap<EventId, (u64, Hash32)>,
    /// `None` if the receipts go to something that is no regular file.
    journal: Option<Journal>,
    /// The largest receipt so far.
    largest: u64,
    /// Lines that are no receipts (the last one, if a run was killed while it wrote it), or whose signature does not
    /// hold.
    pub broken: Vec<String>,
}

/// Whether a file without a single receipt is none that a push began: a run that was killed may have left one line, or a
/// part of one, that is none.
fn holds_something_else(path: &Path, broken: usize) -> io::Result<bool> {
    let meta = path.metadata()?;
    let begun = broken <= 1 && cli_common::files::begins_with(path, b"{");
    Ok(meta.is_file() && meta.len() > 0 && !begun)
}

impl Evidence {
    /// Opens a file of receipts, or begins one. It is locked: two runs do not write to one file. A receipt whose
    /// signature does not hold covers nothing.
    ///
    /// # Errors
    /// It cannot be read or written, or another run writes to it.
    pub fn open(path: &Path, sequencer_keys: &SequencerKeys) -> Result<Self, FileError> {
        let io = |e: io::Error| FileError::new(path, e);
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(FileError::new(path, "another push is writing to it"));
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        let mut known = HashMap::new();
        let mut broken = Vec::new();
        for_each_receipt(BufReader::new(&file), &mut |receipt| {
            match receipt {
                Ok(receipt) if receipt.check_signature(sequencer_keys) == SignatureCheck::Invalid => {
                    broken.push(format!(
                        "the receipt of {} is not signed by the sequencer",
                        receipt.event_id
                    ));
                }
                Ok(receipt) => {
                    known.insert(receipt.event_id, (receipt.sequence_number, receipt.receipt_hash));
                }
                Err(error) => broken.push(error.to_string()),
            }
            ControlFlow::Continue(())
        })
        .map_err(io)?;
        if known.is_empty() && holds_something_else(path, broken.len()).map_err(io)? {
            let what = "is there and holds no receipts: nothing is added to it. Name the receipts' file, or a new one";
            return Err(FileError::new(path, what));
        }
        end_line(&mut file).map_err(io)?;
        let regular = file.metadata().map_err(io)?.is_file();
        let journal = regular
            .then(|| Journal::path_beside(path))
            .map(|beside| Journal::read(beside.clone()).map_err(|e| FileError::new(&beside, e)));
        let mut journal = journal.transpose()?;
        if let Some(journal) = &mut journal {
            journal.settle(|id| known.contains_key(id));
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            known,
            journal,
            largest: RECEIPT_BYTES,
            broken,
        })
    }

    /// The receipts' file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lines of the notes that are none.
    pub fn broken_notes(&self) -> impl Iterator<Item = String> {
        let journal = self.journal.iter();
        journal.flat_map(|j| {
            j.broken
                .iter()
                .map(|what| format!("{}.sent: {what}", self.path.display()))
        })
    }

    /// Whether what is sent is noted before.
    pub fn notes_what_is_sent(&self) -> bool {
        self.journal.is_some()
    }

    /// The number that a saved receipt of this very event gives it.
    pub(super) fn covers(&self, event: &Event, signing_hash: &Hash32) -> Option<u64> {
        let (number, hash) = self.known.get(&event.event_id)?;
        (receipt_hash(&event.stream, &event.event_id, *number, signing_hash) == *hash).then_some(*number)
    }

    /// Whether an earlier run sent it and heard no answer.
    pub(super) fn is_open(&self, id: &EventId) -> bool {
        self.journal.as_ref().is_some_and(|journal| journal.is_open(id))
    }

    /// Events that were sent and never answered.
    pub(super) fn open_events(&self) -> impl Iterator<Item = (&EventId, &GroupKey)> {
        self.journal.iter().flat_map(Journal::open_events)
    }

    /// If an earlier request went past it: how.
    pub(super) fn passed(&self, id: &EventId) -> Option<&Passed> {
        self.journal.as_ref().and_then(|journal| journal.passed(id))
    }

    /// Notes on disk what is about to be sent, and takes the room for its receipts: a full disk is found out before, not
    /// after.
    pub(super) fn before_sending(&mut self, group: GroupKey, ids: &[EventId]) -> Result<(), FileError> {
        self.take_room(ids.len() as u64)?;
        if let Some(journal) = &mut self.journal
            && !ids.iter().all(|id| journal.is_open(id))
        {
            journal.note_sent(group, ids).map_err(|e| {
                FileError::new(&Journal::path_beside(&self.path), e)
                    .said("what is about to be sent cannot be noted, so it was not sent")
            })?;
        }
        Ok(())
    }

    /// Takes back the last note of something about to be sent: it was not.
    pub(super) fn withdraw(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.withdraw();
        }
    }

    #[cfg(target_os = "linux")]
    fn take_room(&self, receipts: u64) -> Result<(), FileError> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;

        let Ok(length) = self.file.metadata().map(|meta| meta.len()) else {
            return Ok(());
        };
        let bytes = self.largest.saturating_mul(receipts);
        match fallocate(&self.file, FallocateFlags::KEEP_SIZE, length, bytes) {
            Err(error @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG)) => {
                let words = format!(
                    "there is no room for the receipts of the next {receipts} events, so they were not sent"
                );
                Err(FileError::new(&self.path, io::Error::from(error)).said(&words))
            }
            // A file system that cannot do it says nothing about the room.
            _ => Ok(()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn take_room(&self, _: u64) -> Result<(), FileError> {
        Ok(())
    }

    /// Notes on disk which events are gone past.
    pub(super) fn note_passed(&mut self, group: GroupKey, passed: Vec<Passed>) -> Result<(), FileError> {
        if passed.is_empty() {
            return Ok(());
        }
        let Some(journal) = &mut self.journal else {
            return Ok(());
        };
        journal.note_passed(group, passed).map_err(|e| {
            FileError::new(&Journal::path_beside(&self.path), e).said("what was refused cannot be noted")
        })
    }

    /// Saves receipts, as they came, on disk.
    pub(super) fn save(&mut self, receipts: &[(usize, Receipt, String)]) -> Result<(), FileError> {
        if receipts.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (_, _, line) in receipts {
            text.push_str(line);
            text.push('\n');
            self.largest = self.largest.max(line.len() as u64 + 1);
        }
        let before = self.file.metadata().map(|meta| meta.len());
        let saved = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data());
        if let Err(error) = saved {
            // What was written in part is taken back: all of it is asked for again.
            if let Ok(length) = before {
                let _ = self.file.set_len(length);
            }
            let words = format!(
                "the receipts of {} events came and cannot be saved",
                receipts.len()
            );
            return Err(FileError::new(&self.path, error).said(&words));
        }
        for (_, receipt, _) in receipts {
            self.known
                .insert(receipt.event_id, (receipt.sequence_number, receipt.receipt_hash));
            if let Some(journal) = &mut self.journal {
                journal.settled(&receipt.event_id);
            }
        }
        Ok(())
    }

    /// Gives back the room that was taken, and removes notes that have nothing more to say.
    pub(super) fn close(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.close();
            // Room that was not used goes back with the length, which stays what it is.
            let _ = self
                .file
                .metadata()
                .and_then(|meta| self.file.set_len(meta.len()));
        }
    }
}
