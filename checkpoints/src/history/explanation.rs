//! By what right a generation of a stream's tree leaves the one before it.

use std::path::Path;

use ed25519_dalek::VerifyingKey;
use serde::Serialize;
use ves::{Hash32, SignatureCheck};

use super::Generation;
use crate::epoch::{EpochError, EpochGeneration, RecoveryEpoch};

/// A recovery epoch that was given, and what its signature is worth.
#[derive(Debug, Clone)]
pub struct GivenEpoch {
    /// The file.
    pub file: String,
    /// What it says.
    pub epoch: RecoveryEpoch,
    /// What generations name it by.
    pub hash: Hash32,
    /// Whether the operator signed it.
    pub signature: SignatureCheck,
}

impl GivenEpoch {
    /// Reads a file and checks its signature with the operator's key, if that is known.
    ///
    /// # Errors
    /// It cannot be read, or is no epoch.
    pub fn read(path: &Path, key: Option<&VerifyingKey>) -> Result<Self, EpochError> {
        let epoch = RecoveryEpoch::read(path)?;
        let hash = epoch.hash().map_err(|what| EpochError::content(path, what))?;
        Ok(Self {
            file: path.display().to_string(),
            signature: epoch.check_signature(key),
            epoch,
            hash,
        })
    }
}

/// What explains a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "by", content = "what", rename_all = "snake_case")]
pub enum Explanation {
    /// It is the first: it takes none.
    First,
    /// A recovery epoch that the operator signed: its file.
    Epoch(String),
    /// It could not be checked, and why.
    NotChecked(String),
    /// Nothing does, and why.
    Nothing(String),
}

impl Generation {
    /// What explains it, by the recovery epochs that were given.
    pub fn explained_by(&self, epochs: &[GivenEpoch]) -> Explanation {
        let Some(continues) = self.continues() else {
            return match self.origin.generation {
                1 => Explanation::First,
                _ => Explanation::NotChecked("no checkpoint of it holds".to_owned()),
            };
        };
        let Some(given) = epochs.iter().find(|given| given.hash == continues.epoch) else {
            return match epochs.len() {
                0 => Explanation::NotChecked("no recovery epoch was given (--epoch)".to_owned()),
                _ => Explanation::Nothing(format!(
                    "it names the recovery epoch {}, which is none of those that were given",
                    continues.epoch
                )),
            };
        };
        let file = &given.file;
        let Some(stream) = given.epoch.stream(&self.origin.stream) else {
            return Explanation::Nothing(format!("the recovery epoch {file} does not name its stream"));
        };
        let opened = EpochGeneration {
            number: self.origin.generation,
            common_size: continues.size,
            common_root: continues.root,
            loss: continues.loss,
        };
        if stream.generation != Some(opened) {
            let opens = match &stream.generation {
                None => "no generation of its stream".to_owned(),
                Some(other) => format!("generation {} at {} events", other.number, other.common_size),
            };
            return Explanation::Nothing(format!("the recovery epoch {file} opens {opens}, not this one"));
        }
        match &given.signature {
            SignatureCheck::Valid => Explanation::Epoch(file.clone()),
            SignatureCheck::NotChecked(why) => Explanation::NotChecked(format!("{file}: {why}")),
            _ => Explanation::Nothing(format!(
                "the signature of the recovery epoch {file} does not hold by the operator's key"
            )),
        }
    }
}
