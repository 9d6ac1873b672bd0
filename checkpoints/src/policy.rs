//! Whose signatures make a checkpoint count.

use crate::checkpoint::Checkpoint;
use crate::note::{KeyKind, Note, NoteError, Signed, VerifierKey};

/// The keys that are trusted, and how many witnesses are asked for.
///
/// A deployment has one key; it signs each stream's checkpoints under the stream's own name, so that witnesses, which know
/// one key for each name, can tell streams apart.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    logs: Vec<VerifierKey>,
    witnesses: Vec<VerifierKey>,
    least_witnesses: usize,
}

/// Keys that do not make a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A key of the other kind.
    #[error("{0} is {1}")]
    Kind(String, &'static str),
    /// One key that would count twice: a cosignature does not bind its witness's name.
    #[error("{0} and {1} are one key: it would count twice")]
    Twice(String, String),
    /// More witnesses asked for than there are.
    #[error("{least} witnesses are asked for, and {given} were given")]
    TooFew {
        /// So many are asked for.
        least: usize,
        /// So many were given.
        given: usize,
    },
}

/// On whose word a checkpoint rests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// The log's key, as [`VerifierKey::short`] under the deployment's name.
    pub log: String,
    /// The witnesses that cosigned, and when, in seconds since 1970.
    pub witnesses: Vec<(String, u64)>,
}

impl Trust {
    /// In words, for reports: whose signatures it rests on.
    pub fn describe(&self) -> String {
        match &self.witnesses[..] {
            [] => format!("signed by {} alone", self.log),
            some => {
                let names: Vec<&str> = some.iter().map(|(name, _)| name.as_str()).collect();
                format!("signed by {}, cosigned by {}", self.log, names.join(", "))
            }
        }
    }
}

/// Why a checkpoint does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// No key that was given signed it.
    #[error("no key that was given signed it")]
    NoKnownKey,
    /// A key that is known is named, and its signature does not hold.
    #[error("the signature of {0} does not hold")]
    Invalid(String),
    /// Too few of the witnesses that were given.
    #[error("{have} of the witnesses that were given cosigned it, {least} are asked for")]
    TooFewWitnesses {
        /// So many did.
        have: usize,
        /// So many should have.
        least: usize,
    },
}

impl Policy {
    /// `logs` are the deployments' keys, each under its deployment's name; of the `witnesses`, `least_witnesses` must have
    /// cosigned.
    ///
    /// # Errors
    /// Keys of the wrong kind, one key given twice, more witnesses asked for than given.
    pub fn new(
        logs: Vec<VerifierKey>,
        witnesses: Vec<VerifierKey>,
        least_witnesses: usize,
    ) -> Result<Self, PolicyError> {
        if let Some(key) = logs.iter().find(|key| key.kind() != KeyKind::Log) {
            return Err(PolicyError::Kind(key.short(), "a witness's key, not a log's"));
        }
        if let Some(key) = witnesses.iter().find(|key| key.kind() != KeyKind::Witness) {
            return Err(PolicyError::Kind(key.short(), "a log's key, not a witness's"));
        }
        // A log that is its own witness adds nothing either.
        for (index, key) in witnesses.iter().enumerate() {
            let mut others = logs.iter().chain(&witnesses[..index]);
            if let Some(other) = others.find(|other| other.key() == key.key()) {
                return Err(PolicyError::Twice(other.short(), key.short()));
            }
        }
        if least_witnesses > witnesses.len() {
            return Err(PolicyError::TooFew {
                least: least_witnesses,
                given: witnesses.len(),
            });
        }
        Ok(Self {
            logs,
            witnesses,
            least_witnesses,
        })
    }

    /// The deployments' keys.
    pub fn logs(&self) -> &[VerifierKey] {
        &self.logs
    }

    /// The witnesses' keys.
    pub fn witnesses(&self) -> &[VerifierKey] {
        &self.witnesses
    }

    /// How many of the witnesses must have cosigned.
    pub fn least_witnesses(&self) -> usize {
        self.least_witnesses
    }

    /// Whether a note with this content counts, and on whose word.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(&self, note: &Note, checkpoint: &Checkpoint) -> Result<Trust, Distrust> {
        let log = self.signed_by(note, checkpoint)?;
        let mut witnesses = Vec::new();
        for witness in &self.witnesses {
            match witness.check(note) {
                Signed::Valid { time } => witnesses.push((witness.short(), time.unwrap_or_default())),
                Signed::Invalid => return Err(Distrust::Invalid(witness.short())),
                Signed::Absent => {}
            }
        }
        if witnesses.len() < self.least_witnesses {
            return Err(Distrust::TooFewWitnesses {
                have: witnesses.len(),
                least: self.least_witnesses,
            });
        }
        Ok(Trust { log, witnesses })
    }

    fn signed_by(&self, note: &Note, checkpoint: &Checkpoint) -> Result<String, Distrust> {
        let mut invalid = None;
        for key in self
            .logs
            .iter()
            .filter(|key| key.name() == checkpoint.origin.deployment)
        {
            match of_stream(key, checkpoint).map(|key| key.check(note)) {
                Ok(Signed::Valid { .. }) => return Ok(key.short()),
                Ok(Signed::Invalid) => invalid = Some(Distrust::Invalid(key.short())),
                Ok(Signed::Absent) | Err(_) => {}
            }
        }
        Err(invalid.unwrap_or(Distrust::NoKnownKey))
    }
}

/// A deployment's key under the name with which it signs a stream's checkpoints.
///
/// # Errors
/// None for an origin that was read.
pub fn of_stream(key: &VerifierKey, checkpoint: &Checkpoint) -> Result<VerifierKey, NoteError> {
    VerifierKey::new(&checkpoint.origin.to_string(), KeyKind::Log, *key.key())
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use uuid::Uuid;
    use ves::{Hash32, StreamKey};

    use super::*;
    use crate::checkpoint::Origin;
    use crate::note::SignatureLine;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn log(name: &str, n: u8) -> VerifierKey {
        VerifierKey::new(name, KeyKind::Log, key(n).verifying_key()).unwrap()
    }

    fn witness(name: &str, n: u8) -> VerifierKey {
        VerifierKey::new(name, KeyKind::Witness, key(n).verifying_key()).unwrap()
    }

    fn signed(deployment: &str, by: u8, witnesses: &[(&str, u8)]) -> (Note, Checkpoint) {
        let checkpoint = Checkpoint {
            origin: Origin {
                deployment: deployment.into(),
                stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into()),
                generation: 1,
            },
            size: 3,
            root: Hash32::ZERO,
            time: None,
            continues: None,
        };
        let mut note = checkpoint.sign(&key(by));
        for (name, n) in witnesses {
            let line = SignatureLine::by_witness(name, &key(*n), &note.text, 9);
            note.signatures.push(line);
        }
        (note, checkpoint)
    }

    #[test]
    fn a_checkpoint_counts_by_its_deployments_key_and_enough_witnesses() {
        let judge =
            |policy: &Policy, (note, checkpoint): (Note, Checkpoint)| policy.judge(&note, &checkpoint);
        let alone = Policy::new(vec![log("a.example", 1)], vec![], 0).unwrap();
        let trust = judge(&alone, signed("a.example", 1, &[])).unwrap();
        assert!(trust.describe().ends_with("alone"), "{}", trust.describe());
        assert_eq!(
            judge(&alone, signed("b.example", 1, &[])),
            Err(Distrust::NoKnownKey)
        );
        assert_eq!(
            judge(&alone, signed("a.example", 2, &[])),
            Err(Distrust::NoKnownKey)
        );
        let two = vec![witness("w/1", 5), witness("w/2", 6)];
        let both = Policy::new(vec![log("a.example", 1)], two.clone(), 2).unwrap();
        let one = judge(&both, signed("a.example", 1, &[("w/1", 5), ("w/9", 6)]));
        assert_eq!(one, Err(Distrust::TooFewWitnesses { have: 1, least: 2 }));
        let trust = judge(&both, signed("a.example", 1, &[("w/1", 5), ("w/2", 6)])).unwrap();
        assert_eq!(trust.witnesses.len(), 2);
        let (mut note, checkpoint) = signed("a.example", 1, &[("w/1", 5), ("w/2", 6)]);
        note.signatures[1].bytes[20] ^= 1;
        assert!(matches!(
            judge(&both, (note, checkpoint)),
            Err(Distrust::Invalid(_))
        ));
    }

    #[test]
    fn keys_that_would_count_for_more_than_they_are_make_no_policy() {
        let log = log("a.example", 1);
        assert!(Policy::new(vec![log.clone()], vec![witness("w", 1)], 1).is_err());
        assert!(Policy::new(vec![log.clone()], vec![witness("w", 2), witness("v", 2)], 2).is_err());
        assert!(Policy::new(vec![log.clone()], vec![witness("w", 2)], 2).is_err());
        assert!(Policy::new(vec![log.clone()], vec![log.clone()], 1).is_err());
        assert!(Policy::new(vec![witness("w", 2)], vec![], 0).is_err());
        assert!(Policy::new(vec![log], vec![witness("w", 2)], 1).is_ok());
    }
}
