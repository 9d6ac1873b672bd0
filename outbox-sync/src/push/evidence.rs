//! Receipts of a push, saved as they come: evidence, and what a later run goes on from.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use ed25519_dalek::VerifyingKey;
use ves::{Event, EventId, Hash32, Receipt, SignatureCheck, receipt::receipt_hash};

use crate::receipts::for_each_receipt;

/// A file of receipts that grows.
#[derive(Debug)]
pub struct Evidence {
    file: File,
    path: PathBuf,
    known: HashMap<EventId, (u64, Hash32)>,
    /// Lines that are no receipts (the last one, if a run was killed while it wrote it), or whose signature does not
    /// hold.
    pub broken: Vec<String>,
}

/// Receipts that cannot be read or saved.
#[derive(Debug, thiserror::Error)]
#[error("{}: {what}", path.display())]
pub struct EvidenceError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
}

impl Evidence {
    /// Opens a file of receipts, or begins one. It is locked: two runs do not write to one file. A receipt whose
    /// signature does not hold covers nothing.
    ///
    /// # Errors
    /// It cannot be read or written, or another run writes to it.
    pub fn open(path: &Path, sequencer_key: Option<&VerifyingKey>) -> Result<Self, EvidenceError> {
        let error = |what: String| EvidenceError {
            path: path.to_owned(),
            what,
        };
        let io = |e: io::Error| error(e.to_string());
        let mut file = File::options()
            .read(true)
            .append(true)
            .create(true)
            .open(path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(error("another push is writing to it".into())),
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        let mut known = HashMap::new();
        let mut broken = Vec::new();
        for_each_receipt(BufReader::new(&file), &mut |receipt| {
            match receipt {
                Ok(receipt) if receipt.check_signature(sequencer_key) == SignatureCheck::Invalid => {
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
        // A line that a killed run left unfinished must not swallow the next one.
        let length = file.metadata().map_err(io)?.len();
        if length > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).map_err(io)?;
            file.read_exact(&mut last).map_err(io)?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(io)?;
            }
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            known,
            broken,
        })
    }

    /// Whether a saved receipt is of this very event.
    pub(super) fn covers(&self, event: &Event, signing_hash: &Hash32) -> bool {
        self.known.get(&event.event_id).is_some_and(|(number, hash)| {
            receipt_hash(&event.stream, &event.event_id, *number, signing_hash) == *hash
        })
    }

    /// Saves receipts, as they came, on disk.
    pub(super) fn save(&mut self, lines: &[String], held: &[Receipt]) -> Result<(), EvidenceError> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut text = lines.join("\n");
        text.push('\n');
        let saved = self
            .file
            .write_all(text.as_bytes())
            .and_then(|()| self.file.sync_data());
        saved.map_err(|e| EvidenceError {
            path: self.path.clone(),
            what: format!("receipts cannot be saved: {e}"),
        })?;
        for receipt in held {
            self.known
                .insert(receipt.event_id, (receipt.sequence_number, receipt.receipt_hash));
        }
        Ok(())
    }
}
