//! A signed recovery epoch: the operator's word that what differs from the promises before it is a repair and no attack.

use std::path::Path;

use ed25519_dalek::VerifyingKey;
use outbox_sync::epoch::{EpochGeneration, EpochStream, RecoveryEpoch};
use ves::{Hash32, SignatureCheck, StreamKey};

use crate::error::RecoveryError;

/// An epoch whose signature holds.
#[derive(Debug, Clone)]
pub struct Sanction {
    epoch: RecoveryEpoch,
    hash: Hash32,
}

impl Sanction {
    /// Reads an epoch and checks its signature by a key that is known from elsewhere.
    ///
    /// # Errors
    /// It cannot be read, or its signature does not hold by this key.
    pub fn read(path: &Path, key: &VerifyingKey) -> Result<Self, RecoveryError> {
        let refused = |what: String| RecoveryError::Epoch {
            path: path.to_owned(),
            what,
        };
        let epoch = RecoveryEpoch::read(path).map_err(|e| RecoveryError::Epoch {
            path: path.to_owned(),
            what: e.to_string(),
        })?;
        match epoch.check_signature(Some(key)) {
            SignatureCheck::Valid => {}
            SignatureCheck::NotChecked(why) => return Err(refused(why)),
            _ => {
                return Err(refused(
                    "its signature does not hold by the operator's key".into(),
                ));
            }
        }
        let hash = epoch.hash().map_err(refused)?;
        Ok(Self { epoch, hash })
    }

    /// What the operator's signature is over.
    pub fn hash(&self) -> Hash32 {
        self.hash
    }

    /// What it says of a stream.
    pub fn stream(&self, stream: &StreamKey) -> Option<&EpochStream> {
        self.epoch.stream(stream)
    }

    /// The generation that it opens for a stream.
    pub fn generation(&self, stream: &StreamKey) -> Option<EpochGeneration> {
        self.stream(stream)?.generation
    }
}
