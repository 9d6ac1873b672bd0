//! An event by itself: what its row contradicts, and what of it cannot be seen.

use std::borrow::Cow;

use cli_common::finding::Code;
use event_log::{EntryCheck, LogEntry, ReceiptCheck};
use ves::{AgentId, EventCheck, Hash32, Payload, SignatureCheck, Timestamp};

/// An agent's key, as events name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName {
    /// The agent.
    pub agent_id: AgentId,
    /// The number among its keys.
    pub key_id: u32,
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "key {} of agent {}", self.key_id, self.agent_id)
    }
}

/// What is wrong with an event. As text: a sentence that names no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventFault {
    /// The stored signing hash is not that of the fields.
    SigningHash {
        /// What is stored.
        stored: Hash32,
        /// What the fields hash to.
        computed: Hash32,
    },
    /// The stored payload hash is not that of the payload: how.
    PayloadHash(String),
    /// No reader of the sequencer's takes the payload (it is too deep, say), so that no hash of it can be wrong: why.
    Payload(String),
    /// The column `created_at` is not the moment of the text that was signed.
    CreatedAt {
        /// What the column says.
        column: Timestamp,
        /// What was signed.
        signed: Timestamp,
    },
    /// The signature by this key does not hold.
    Signature(KeyName),
    /// The key was not valid when the event was sequenced: why.
    KeyNotValid(KeyName, String),
    /// The receipt promises something else: what.
    Receipt(String),
    /// The sequencer's signature over the receipt does not hold.
    ReceiptSignature,
}

impl EventFault {
    /// The rule that is broken.
    pub fn code(&self) -> Code {
        match self {
            Self::SigningHash { .. } => Code::EventSigningHash,
            Self::PayloadHash(_) => Code::EventPayloadHash,
            Self::Payload(_) => Code::EventUnreadable,
            Self::CreatedAt { .. } => Code::EventCreatedAt,
            Self::Signature(_) => Code::EventSignature,
            Self::KeyNotValid(..) => Code::EventKey,
            Self::Receipt(_) => Code::ReceiptMismatch,
            Self::ReceiptSignature => Code::ReceiptSignature,
        }
    }
}

impl std::fmt::Display for EventFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SigningHash { stored, computed } => {
                write!(
                    f,
                    "the stored signing hash is {stored}, the fields hash to {computed}"
                )
            }
            Self::PayloadHash(what) | Self::Receipt(what) => f.write_str(what),
            Self::Payload(why) => write!(f, "the payload cannot be read: {why}"),
            Self::CreatedAt { column, signed } => write!(
                f,
                "the column created_at is {column}, the text that was signed is {signed}"
            ),
            Self::Signature(by) => write!(f, "the signature by {by} does not hold"),
            Self::KeyNotValid(by, why) => write!(f, "{by}: {why}"),
            Self::ReceiptSignature => f.write_str("the sequencer's signature over the receipt does not hold"),
        }
    }
}

/// What of an event was not checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unchecked {
    /// The payload's hash: the payload was left out.
    Payload,
    /// The hash of an encrypted payload's plaintext.
    Plaintext,
    /// The column `created_at`: the text that was signed is no time that is known here; the sequencer may have known it.
    CreatedAt,
    /// The agent's signature: its key is not there.
    Key(KeyName),
    /// The agent's signature: why.
    Signature(String),
    /// The receipt: there is none.
    Receipt,
    /// The sequencer's signature over the receipt: why.
    ReceiptSignature(String),
}

impl Unchecked {
    /// What, and why.
    pub fn words(&self) -> Cow<'static, str> {
        match self {
            Self::Payload => "payload hash: the payload was left out".into(),
            Self::Plaintext => "plaintext hash of an encrypted payload: it takes the recipients' keys".into(),
            Self::CreatedAt => "created_at: the text that was signed is no time that is known".into(),
            Self::Key(by) => format!("agent signature: {by} is not among the keys").into(),
            Self::Signature(why) => format!("agent signature: {why}").into(),
            Self::Receipt => "receipt: there is none".into(),
            Self::ReceiptSignature(why) => format!("receipt signature: {why}").into(),
        }
    }
}

/// What is to be said of an event by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventVerdict {
    /// The leaf of a commitment, which is made of what is stored.
    pub leaf: Hash32,
    /// What is wrong.
    pub faults: Vec<EventFault>,
    /// What was not checked.
    pub unchecked: Vec<Unchecked>,
}

impl EventVerdict {
    /// Of an event with what was recomputed of it; `redacted` if its payload was left out.
    pub fn of(entry: &LogEntry, redacted: bool, check: EntryCheck) -> Self {
        let mut verdict = Self {
            leaf: check.leaf,
            faults: Vec::new(),
            unchecked: Vec::new(),
        };
        if !check.signing_hash_matches {
            verdict.faults.push(EventFault::SigningHash {
                stored: entry.event_signing_hash,
                computed: check.signing_hash,
            });
        }
        if redacted {
            verdict.unchecked.push(Unchecked::Payload);
        } else {
            verdict.payload(&entry.event.payload, check.payload);
        }
        verdict.created_at(entry);
        verdict.signature(entry, check.signature);
        verdict.receipt(check.receipt);
        verdict
    }

    /// Whether the signing hash and the payload hash are those of what is stored.
    pub fn hashes_match(&self) -> bool {
        let wrong = |fault: &EventFault| {
            matches!(
                fault,
                EventFault::SigningHash { .. } | EventFault::PayloadHash(_) | EventFault::Payload(_)
            )
        };
        !self.faults.iter().any(wrong)
    }

    /// Whether the agent's signature holds, by a key that was valid.
    pub fn signature_holds(&self) -> bool {
        let wrong =
            |fault: &EventFault| matches!(fault, EventFault::Signature(_) | EventFault::KeyNotValid(..));
        let open = |unchecked: &Unchecked| matches!(unchecked, Unchecked::Key(_) | Unchecked::Signature(_));
        !self.faults.iter().any(wrong) && !self.unchecked.iter().any(open)
    }

    /// Whether there is a receipt that promises what the log has, whoever signed it.
    pub fn receipt_matches(&self) -> bool {
        let wrong = |fault: &EventFault| matches!(fault, EventFault::Receipt(_));
        !self.faults.iter().any(wrong) && !self.unchecked.contains(&Unchecked::Receipt)
    }

    /// Whether the receipt matches and the sequencer's signature over it holds.
    pub fn receipt_signature_holds(&self) -> bool {
        let open = |unchecked: &Unchecked| matches!(unchecked, Unchecked::ReceiptSignature(_));
        self.receipt_matches()
            && !self.faults.contains(&EventFault::ReceiptSignature)
            && !self.unchecked.iter().any(open)
    }

    fn payload(&mut self, payload: &Payload, check: EventCheck) {
        let (Payload::Plain(json) | Payload::Encrypted(json)) = payload;
        if let EventCheck::Mismatch(what) = check {
            self.faults.push(match ves::jcs::canonicalize(json) {
                Err(error) => EventFault::Payload(error.to_string()),
                Ok(_) => EventFault::PayloadHash(what),
            });
        } else if matches!(payload, Payload::Encrypted(_)) {
            self.unchecked.push(Unchecked::Plaintext);
        }
    }

    fn created_at(&mut self, entry: &LogEntry) {
        let (text, column) = (&entry.event.created_at, entry.created_at_column);
        match Timestamp::from_canonical(text).or_else(|| text.parse().ok()) {
            Some(signed) if signed == column => {}
            Some(signed) => self.faults.push(EventFault::CreatedAt { column, signed }),
            None => self.unchecked.push(Unchecked::CreatedAt),
        }
    }

    fn signature(&mut self, entry: &LogEntry, signature: SignatureCheck) {
        let by = KeyName {
            agent_id: entry.event.source_agent_id,
            key_id: entry.event.agent_key_id,
        };
        match signature {
            SignatureCheck::Valid => {}
            SignatureCheck::Invalid => self.faults.push(EventFault::Signature(by)),
            SignatureCheck::KeyNotValid(why) => self.faults.push(EventFault::KeyNotValid(by, why)),
            SignatureCheck::KeyUnknown => self.unchecked.push(Unchecked::Key(by)),
            SignatureCheck::NotChecked(why) => self.unchecked.push(Unchecked::Signature(why)),
        }
    }

    fn receipt(&mut self, receipt: ReceiptCheck) {
        match receipt {
            ReceiptCheck::Missing => self.unchecked.push(Unchecked::Receipt),
            ReceiptCheck::Mismatch(what) => self.faults.push(EventFault::Receipt(what)),
            ReceiptCheck::Matches(SignatureCheck::Valid) => {}
            ReceiptCheck::Matches(SignatureCheck::NotChecked(why)) => {
                self.unchecked.push(Unchecked::ReceiptSignature(why));
            }
            ReceiptCheck::Matches(_) => self.faults.push(EventFault::ReceiptSignature),
        }
    }
}
