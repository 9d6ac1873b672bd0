//! What the files of checkpoints hold already, as far as this deployment signed it.

use std::collections::{BTreeMap, BTreeSet};

use checkpoints::Policy;
use checkpoints::file::Located;
use ves::StreamKey;

use super::out::Out;
use super::promises::Promise;
use super::state::ReadUpTo;
use crate::error::RecoveryError;

/// So many entries that do not count are named.
const NAMED: usize = 20;

/// See the module.
#[derive(Debug, Default)]
pub struct Published {
    promises: BTreeMap<StreamKey, Vec<Promise>>,
    /// The files of which all entries were read.
    whole: BTreeSet<String>,
    /// Entries that do not count, and why.
    refused: Vec<String>,
    more_refused: u64,
    /// The texts of pending notes that are in their file.
    found: BTreeSet<String>,
}

/// What is looked for.
pub struct Looking<'a> {
    /// The deployment's name.
    pub deployment: &'a str,
    /// Its key.
    pub policy: &'a Policy,
    /// Texts of notes that may not be in their file yet. They are no promises: they are those of the state itself.
    pub pending: &'a BTreeSet<String>,
}

impl Published {
    /// Reads every file, from its mark on; the marks are moved to what was read.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn read(
        out: &Out,
        looking: &Looking<'_>,
        marks: &mut BTreeMap<String, ReadUpTo>,
        from_start: bool,
    ) -> Result<Self, RecoveryError> {
        let mut all = Self::default();
        let mut read = BTreeMap::new();
        for name in out.files()? {
            let mark = marks.get(&name).filter(|_| !from_start);
            let shown = if name.is_empty() {
                String::new()
            } else {
                format!("{name}, ")
            };
            let (mark, whole) = out.read(&name, mark, &mut |located| all.take(located, &shown, looking))?;
            if whole {
                all.whole.insert(name.clone());
            }
            read.insert(name, mark);
        }
        *marks = read;
        Ok(all)
    }

    fn take(&mut self, located: Located, shown: &str, looking: &Looking<'_>) {
        // Lines are counted from where the reading began, so a place is worth less than the size.
        let entry = match located.entry {
            Ok(entry) => entry,
            Err(flaw) => return self.refuse(format!("{shown}an entry cannot be read: {flaw}")),
        };
        let checkpoint = &entry.checkpoint;
        if checkpoint.origin.deployment != looking.deployment {
            return;
        }
        if looking.pending.contains(&entry.note.text) {
            self.found.insert(entry.note.text);
            return;
        }
        let place = format!("{shown}{}, {} events", checkpoint.origin, checkpoint.size);
        match looking.policy.judge(&entry.note, checkpoint) {
            Err(distrust) => self.refuse(format!("{place}: {distrust}: it is not compared")),
            Ok(_) => {
                let promise = Promise {
                    generation: checkpoint.origin.generation,
                    size: checkpoint.size,
                    root: checkpoint.root,
                    continues: checkpoint.continues,
                    place,
                };
                let of_stream = self.promises.entry(checkpoint.origin.stream).or_default();
                of_stream.push(promise);
            }
        }
    }

    fn refuse(&mut self, why: String) {
        if self.refused.len() < NAMED {
            self.refused.push(why);
        } else {
            self.more_refused += 1;
        }
    }

    /// What was signed of a stream.
    pub fn of(&self, stream: &StreamKey) -> Vec<Promise> {
        self.promises.get(stream).cloned().unwrap_or_default()
    }

    /// The streams of which something was signed.
    pub fn streams(&self) -> impl Iterator<Item = StreamKey> + '_ {
        self.promises.keys().copied()
    }

    /// Whether all that a file holds was read.
    pub fn is_whole(&self, file: &str) -> bool {
        self.whole.contains(file)
    }

    /// Whether the file has a pending note.
    pub fn has(&self, text: &str) -> bool {
        self.found.contains(text)
    }

    /// Entries that do not count, for NOT CHECKED.
    pub fn refused(&self) -> Vec<String> {
        let mut all = self.refused.clone();
        if self.more_refused > 0 {
            all.push(format!("{} more entries that do not count", self.more_refused));
        }
        all
    }
}
