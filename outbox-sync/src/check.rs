//! Whether what a row holds is what its agent signed.

use serde::{Deserialize, Serialize};
use ves::{Event, EventCheck, Hash32, KeyRegistry, SignatureCheck, Timestamp};

/// Why an event with [the escape `\u0000`](has_escaped_nul) is no evidence.
pub(crate) const NO_LOG_HOLDS: &str = "its payload holds \\u0000, which no log can hold";

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
pub enum CheckVerdict {
    /// Both hold.
    Holds,
    /// One of them does not.
    Fails,
    /// The signature was not checked (no such key, a scheme that is not known). Never a pass.
    NotChecked,
}

impl RowCheck {
    fn refused(event: &Event, why: String, signature: &str) -> Self {
        Self {
            payload: EventCheck::Mismatch(why),
            signing_hash: event.signing_hash(),
            signature: SignatureCheck::NotChecked(signature.to_owned()),
        }
    }

    /// Why what a row holds is not what was signed, if it is not. Whether its key was valid is another question.
    pub fn refusal(&self) -> Option<String> {
        match (&self.payload, &self.signature) {
            (EventCheck::Mismatch(why), _) => Some(why.clone()),
            (_, SignatureCheck::Invalid) => Some("its signature does not hold".to_owned()),
            _ => None,
        }
    }

    /// The check in one word. A signature by a key that was not valid at that time fails.
    pub fn verdict(&self) -> CheckVerdict {
        match (&self.payload, &self.signature) {
            (EventCheck::Mismatch(_), _) | (_, SignatureCheck::Invalid | SignatureCheck::KeyNotValid(_)) => {
                CheckVerdict::Fails
            }
            (EventCheck::Matches, SignatureCheck::Valid) => CheckVerdict::Holds,
            (EventCheck::Matches, SignatureCheck::KeyUnknown | SignatureCheck::NotChecked(_)) => {
                CheckVerdict::NotChecked
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

/// Checks the event that a row holds. Its key is judged at the time when the sequencer is said to have numbered it, else at the
/// event's own time.
pub fn check_held(event: &Event, sequenced_at: Option<Timestamp>, keys: &KeyRegistry) -> RowCheck {
    match sequenced_at.or_else(|| event.created_at.parse().ok()) {
        Some(at) => check(event, keys, at),
        None => {
            let why = format!("created_at is not a time: {:?}", event.created_at);
            RowCheck::refused(event, why, "created_at is not a time")
        }
    }
}

/// The same of an event that a log lacks, as evidence: what no log can hold was never in one, whoever signed it.
pub fn check_evidence(event: &Event, sequenced_at: Option<Timestamp>, keys: &KeyRegistry) -> RowCheck {
    if has_escaped_nul(event.payload.json()) {
        return RowCheck::refused(event, NO_LOG_HOLDS.to_owned(), "its payload holds \\u0000");
    }
    check_held(event, sequenced_at, keys)
}

/// Whether a JSON text holds the escape `\u0000`. PostgreSQL's jsonb refuses it, so the sequencer never took such an event, and
/// planning it would sink the rest of its stream.
pub fn has_escaped_nul(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        rest = &rest[at + 1..];
        if rest.starts_with("u0000") {
            return true;
        }
        // The escaped character may itself be a backslash.
        let mut chars = rest.chars();
        chars.next();
        rest = chars.as_str();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::has_escaped_nul;

    #[test]
    fn an_escaped_nul_is_told_from_an_escaped_backslash() {
        assert!(has_escaped_nul(r#"{"a":"x\u0000y"}"#));
        assert!(has_escaped_nul(r#""\\\u0000""#));
        assert!(!has_escaped_nul(r#""\\u0000""#));
        assert!(!has_escaped_nul(r#""\u0001 \n u0000""#));
        assert!(!has_escaped_nul("\"\\"));
    }
}
