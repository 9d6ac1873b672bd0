//! Whether what a row holds is what its agent signed.

use serde::{Deserialize, Serialize};
use ves::{Event, EventCheck, Hash32, KeyRegistry, SignatureCheck, Timestamp};

/// What came out of checking an event that somebody holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowCheck {
    /// Whether the payload hash is the payload's.
    pub payload: EventCheck,
    /// The signing hash, recomputed from the fields.
    pub signing_hash: Hash32,
    /// Whether the signature over it holds.
    pub signature: SignatureCheck,
}

/// [`RowCheck`] in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Both hold.
    Holds,
    /// One of them does not.
    Fails,
    /// The signature was not checked (no such key, a scheme that is not known). Never a pass.
    NotChecked,
}

impl RowCheck {
    /// The check in one word. A signature by a key that was not valid at that time fails.
    pub fn verdict(&self) -> Verdict {
        match (&self.payload, &self.signature) {
            (EventCheck::Mismatch(_), _) | (_, SignatureCheck::Invalid | SignatureCheck::KeyNotValid(_)) => {
                Verdict::Fails
            }
            (EventCheck::Matches, SignatureCheck::Valid) => Verdict::Holds,
            (EventCheck::Matches, SignatureCheck::KeyUnknown | SignatureCheck::NotChecked(_)) => {
                Verdict::NotChecked
            }
        }
    }
}

/// Recomputes an event's hashes and checks its signature, with its key judged at `at`.
///
/// An outbox does not say when the sequencer accepted an event (pulled rows do, in
/// [`crate::HeldRow::sequenced_at`]): the caller decides at which time keys are judged.
pub fn check(event: &Event, keys: &KeyRegistry, at: Timestamp) -> RowCheck {
    let signing_hash = event.signing_hash();
    RowCheck {
        payload: event.check_payload(),
        signing_hash,
        signature: keys.check(event, &signing_hash, at),
    }
}
