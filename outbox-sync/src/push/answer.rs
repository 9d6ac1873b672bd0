//! The sequencer's answer to an ingest, and what to do about each rejection.

use serde::Deserialize;
use serde_json::value::RawValue;
use ves::{EventId, Receipt};

use crate::receipts::ReceiptJson;

/// An answer with status 200.
pub(super) struct Answer {
    pub accepted: u64,
    /// Receipts, each with its text as it came.
    pub receipts: Vec<(Receipt, String)>,
    /// Receipts that cannot be read, in words.
    pub unreadable: Vec<String>,
    pub rejections: Vec<Rejection>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rejection {
    #[serde(alias = "eventId")]
    pub event_id: EventId,
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerJson {
    events_accepted: u64,
    #[serde(default)]
    receipts: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    rejections: Option<Vec<Rejection>>,
}

pub(super) fn read_answer(body: &[u8]) -> Result<Answer, String> {
    let json: AnswerJson = serde_json::from_slice(body).map_err(|e| e.to_string())?;
    let mut answer = Answer {
        accepted: json.events_accepted,
        receipts: Vec::new(),
        unreadable: Vec::new(),
        rejections: json.rejections.unwrap_or_default(),
    };
    for raw in json.receipts.unwrap_or_default() {
        let read = serde_json::from_str::<ReceiptJson>(raw.get())
            .map_err(|e| format!("a receipt that cannot be read: {e}"))
            .and_then(ReceiptJson::into_receipt);
        match read {
            Ok(receipt) => answer
                .receipts
                .push((receipt, raw.get().replace(['\n', '\r'], " "))),
            Err(what) => answer.unreadable.push(what),
        }
    }
    Ok(answer)
}

/// What to do about a rejection, by its reason.
pub fn advice(reason: &str) -> &'static str {
    match reason {
        "duplicate_event_id" => {
            "the log has an event of this id with other contents, or without a receipt; a payload with an integral float \
             of 1e16 or more is misread so even if it is the same: compare with outbox-sync reconcile --db"
        }
        "duplicate_command_id" => {
            "its command was accepted with another event, or its event was lost and the command's row was not \
             (sequencer-recovery audit: dedupe.orphan)"
        }
        "version_conflict" => {
            "the entity has moved on: make the change anew on its present version, or restore the event at its old number \
             with sequencer-recovery"
        }
        "agent_key_invalid" => {
            "keys are judged now, not when the event was made: register the key or its validity anew, or restore the event \
             with sequencer-recovery"
        }
        "invalid_payload_hash" | "invalid_cipher_hash" | "invalid_signature" => {
            "the event is not what its agent signed: outbox-sync verify says what does not hold; look for another copy"
        }
        "schema_validation" => "the sequencer does not take this form; the message says which field",
        "unsupported_version" => "the sequencer speaks another version of the protocol",
        _ => "not a reason that is known; ask whoever runs the sequencer",
    }
}
