//! The sequencer's answer to an ingest: reading it, and finding out which events of the request it settles. What to do
//! about each rejection.

use std::collections::HashMap;

use http_client::Reply;
use serde::Deserialize;
use serde_json::value::RawValue;
use ves::{EventId, Hash32, Receipt, SequencerKeys, SignatureCheck, StreamKey};

use crate::receipts::ReceiptJson;

/// An answer with status 200.
#[derive(Debug)]
pub(super) struct Answer {
    pub accepted: u64,
    /// As it counts them itself.
    rejected: Option<u64>,
    /// The head of the stream, as it says.
    pub head: Option<u64>,
    /// Receipts, each with its text as it came.
    receipts: Vec<(Receipt, String)>,
    /// Receipts that cannot be read, in words.
    unreadable: Vec<String>,
    rejections: Vec<Rejection>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Rejection {
    #[serde(alias = "eventId")]
    pub event_id: EventId,
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

impl Rejection {
    /// The reason's first word, by which rejections are counted.
    pub(super) fn code(&self) -> String {
        let code = self.reason.split(':').next().unwrap_or_default();
        code.trim().chars().take(64).collect()
    }

    /// What the sequencer says.
    pub(super) fn text(&self) -> String {
        if self.message.is_empty() || self.reason.contains(&self.message) {
            self.reason.clone()
        } else {
            format!("{}: {}", self.reason, self.message)
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnswerJson {
    events_accepted: u64,
    #[serde(default)]
    events_rejected: Option<u64>,
    #[serde(default)]
    head_sequence: Option<u64>,
    #[serde(default)]
    receipts: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    rejections: Option<Vec<Rejection>>,
}

/// Reads an answer with status 200. An error says why it is none.
pub(super) fn read_answer(reply: &Reply) -> Result<Answer, String> {
    if let Some(kind) = &reply.content_type
        && !is_json(kind)
    {
        let kind: String = kind.chars().take(80).collect();
        return Err(format!("its content type is {kind}"));
    }
    let json: AnswerJson = serde_json::from_slice(&reply.body).map_err(|e| e.to_string())?;
    let mut answer = Answer {
        accepted: json.events_accepted,
        rejected: json.events_rejected,
        head: json.head_sequence,
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

/// Whether a content type is JSON; what it says of the character set does not matter.
fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// Whether a content type is a page for people: then a proxy speaks, not the sequencer.
pub(super) fn is_page(content_type: Option<&str>) -> bool {
    content_type.is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/html"))
}

/// An event of a request, as far as its answer is concerned.
pub(super) trait Sent {
    fn event_id(&self) -> EventId;
    fn signing_hash(&self) -> &Hash32;
}

/// What an answer says of the events of its request.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Receipts that hold, each with the place of its event in the request, and its text as it came.
    pub receipts: Vec<(usize, Receipt, String)>,
    /// How many of them have a signature that was not checked.
    pub unchecked: u64,
    /// Rejections, each with the place of its event in the request; none of an answer with flaws, since nothing in them
    /// ties them to their event.
    pub rejections: Vec<(usize, Rejection)>,
    /// Why the answer is not the whole answer to this request.
    pub flaws: Vec<Flaw>,
}

/// What is wrong with an answer.
#[derive(Debug)]
pub(super) struct Flaw {
    /// The event concerned, if it is one.
    pub event_id: Option<EventId>,
    /// Whether it is a receipt that does not hold.
    pub receipt: bool,
    pub what: String,
}

impl Settled {
    fn flaw(&mut self, event_id: Option<EventId>, receipt: bool, what: impl Into<String>) {
        let what = what.into();
        self.flaws.push(Flaw {
            event_id,
            receipt,
            what,
        });
    }

    /// What an answer counts must be what it holds.
    fn check_counts(&mut self, answer: &Answer) {
        let receipts = answer.receipts.len() + answer.unreadable.len();
        if answer.accepted > receipts as u64 {
            let accepted = answer.accepted;
            let what = format!("it counts {accepted} accepted events and has {receipts} receipts");
            self.flaw(None, false, what);
        }
        if answer
            .rejected
            .is_some_and(|n| n != answer.rejections.len() as u64)
        {
            self.flaw(None, false, "it counts other rejections than it has");
        }
    }

    /// The first flaw in words, and how many more there are.
    pub(super) fn flaws_in_words(&self) -> String {
        let Some(first) = self.flaws.first() else {
            return String::new();
        };
        let event = first.event_id.map_or(String::new(), |id| format!("event {id}: "));
        let more = match self.flaws.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        format!("{event}{}{more}", first.what)
    }
}

/// Matches an answer with the events that were sent, by their ids. A receipt is believed if it is the only one of its
/// event, its hash is of this event and number, nobody else has its number, and its signature holds or cannot be checked.
pub(super) fn settle<T: Sent>(
    answer: Answer,
    sent: &[T],
    stream: &StreamKey,
    sequencer_keys: &SequencerKeys,
) -> Settled {
    let mut settled = Settled::default();
    settled.check_counts(&answer);
    let by_id: HashMap<EventId, usize> = sent.iter().map(Sent::event_id).zip(0..).collect();
    let mut of_event: HashMap<EventId, u32> = HashMap::new();
    let mut of_number: HashMap<u64, u32> = HashMap::new();
    for (receipt, _) in &answer.receipts {
        *of_event.entry(receipt.event_id).or_default() += 1;
        *of_number.entry(receipt.sequence_number).or_default() += 1;
    }
    for (receipt, line) in answer.receipts {
        let id = receipt.event_id;
        let Some((at, event)) = by_id.get(&id).and_then(|at| Some((*at, sent.get(*at)?))) else {
            settled.flaw(Some(id), true, "a receipt of an event that was not sent");
            continue;
        };
        let flaw = if of_event.get(&id).is_some_and(|n| *n > 1) {
            Some("it has several receipts")
        } else if !receipt.hash_matches(stream, event.signing_hash()) {
            Some("its receipt's hash is not of this event and number")
        } else if of_number.get(&receipt.sequence_number).is_some_and(|n| *n > 1) {
            Some("its receipt's number is given to another event too")
        } else {
            match receipt.check_signature(sequencer_keys) {
                SignatureCheck::Valid => None,
                SignatureCheck::NotChecked(_) => {
                    settled.unchecked += 1;
                    None
                }
                _ => Some("the sequencer's signature on its receipt does not hold"),
            }
        };
        match flaw {
            Some(what) => settled.flaw(Some(id), true, what),
            None => settled.receipts.push((at, receipt, line)),
        }
    }
    for what in answer.unreadable {
        settled.flaw(None, true, what);
    }
    let mut rejected: HashMap<EventId, u32> = HashMap::new();
    for rejection in &answer.rejections {
        let id = rejection.event_id;
        let before = rejected.entry(id).or_default();
        *before += 1;
        if !by_id.contains_key(&id) {
            settled.flaw(Some(id), false, "a rejection of an event that was not sent");
        } else if of_event.contains_key(&id) || *before > 1 {
            settled.flaw(Some(id), false, "it is answered twice");
        }
    }
    for event in sent {
        let id = event.event_id();
        if !of_event.contains_key(&id) && !rejected.contains_key(&id) {
            settled.flaw(
                Some(id),
                false,
                "the answer has neither a receipt nor a rejection of it",
            );
        }
    }
    if settled.flaws.is_empty() {
        let at = |rejection: Rejection| Some((*by_id.get(&rejection.event_id)?, rejection));
        settled.rejections = answer.rejections.into_iter().filter_map(at).collect();
    }
    settled
}

/// What an answer says of the events of its request, each by its place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Understood {
    /// Receipts that hold.
    pub receipts: Vec<(usize, Receipt)>,
    /// Events that were rejected.
    pub rejected: Vec<usize>,
    /// Why the answer is not the whole answer to this request, in words.
    pub flaws: Vec<String>,
}

impl Sent for (EventId, Hash32) {
    fn event_id(&self) -> EventId {
        self.0
    }

    fn signing_hash(&self) -> &Hash32 {
        &self.1
    }
}

/// Reads an answer with status 200 to a request with these events of one stream, each with its signing hash.
///
/// # Errors
/// It is no answer of a sequencer, in words.
pub fn understand(
    reply: &Reply,
    sent: &[(EventId, Hash32)],
    stream: &StreamKey,
    sequencer_keys: &SequencerKeys,
) -> Result<Understood, String> {
    let settled = settle(read_answer(reply)?, sent, stream, sequencer_keys);
    let receipts = settled.receipts.into_iter();
    Ok(Understood {
        receipts: receipts.map(|(at, receipt, _)| (at, receipt)).collect(),
        rejected: settled.rejections.iter().map(|(at, _)| *at).collect(),
        flaws: settled.flaws.into_iter().map(|flaw| flaw.what).collect(),
    })
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
