//! A double of the sequencer's ingest over HTTP. It does what the real one was seen to do: it keeps each event id
//! once, answers a repeated event with its receipt (neither accepted nor rejected), rejects with status 200, judges
//! keys at now, fails as a whole on a NUL, refuses large bodies, and misreads integral floats from 1e16 on.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ed25519_dalek::SigningKey;
use outbox_sync::wire::WireEvent;
use serde_json::{Value, json};
use ves::receipt::{receipt_hash, sign_receipt_hash};
use ves::{Event, EventCheck, KeyRegistry, SignatureCheck, StreamKey, Timestamp};

pub const API_KEY: &str = "test-api-key";

/// What goes wrong with one request.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing.
    None,
    /// This status, perhaps with `Retry-After`.
    Status(u16, Option<u64>),
    /// The connection breaks before anything was done.
    Before,
    /// The connection breaks after everything was done: nobody hears of it.
    After,
    /// 200, and not an answer.
    Garbage,
    /// The answer names only half of the events.
    Silent,
    /// The receipts are signed by somebody else.
    Forged,
    /// The receipts give each other's numbers.
    Swapped,
    /// The receipts are much longer than any that came before.
    Bulky,
}

struct Stored {
    content: Value,
    stream: StreamKey,
    receipt: Option<Value>,
}

#[derive(Default)]
pub struct State {
    pub keys: KeyRegistry,
    /// Events in the order of their acceptance.
    pub log: Vec<Event>,
    stored: HashMap<String, Stored>,
    pub counters: BTreeMap<StreamKey, u64>,
    commands: HashSet<(StreamKey, String)>,
    versions: HashMap<(StreamKey, String, String), i64>,
    pub faults: VecDeque<Fault>,
    /// Events in each request.
    pub requests: Vec<usize>,
    /// Fails on every new event: its counter is behind.
    pub counter_behind: bool,
    /// Fails on these events, and says no more.
    pub poisoned: HashSet<String>,
    pub delay: Duration,
}

impl State {
    /// Loses a receipt row.
    pub fn lose_receipt(&mut self, event_id: &str) {
        self.stored.get_mut(event_id).unwrap().receipt = None;
    }

    /// Has its receipts as a repair restores them without the sequencer's key.
    pub fn unsign_receipts(&mut self) {
        for receipt in self
            .stored
            .values_mut()
            .filter_map(|stored| stored.receipt.as_mut())
        {
            receipt["signatureAlg"] = "none".into();
            receipt["sequencerSignature"] = "".into();
        }
    }

    /// Remembers a command whose event was lost.
    pub fn keep_command(&mut self, stream: StreamKey, command: &str) {
        self.commands.insert((stream, command.to_owned()));
    }
}

pub struct Sequencer {
    pub url: String,
    pub state: Arc<Mutex<State>>,
    pub key: SigningKey,
}

impl Sequencer {
    pub fn start(keys: KeyRegistry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let key = SigningKey::from_bytes(&[42; 32]);
        let state = Arc::new(Mutex::new(State {
            keys,
            ..State::default()
        }));
        let (shared, signing) = (Arc::clone(&state), key.clone());
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let (state, key) = (Arc::clone(&shared), signing.clone());
                std::thread::spawn(move || {
                    // A client that was killed is no failure of the sequencer.
                    let _ = serve(connection.unwrap(), &state, &key);
                });
            }
        });
        Self { url, state, key }
    }

    pub fn public_key(&self) -> String {
        hex::encode(self.key.verifying_key().to_bytes())
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>, key: &SigningKey) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    let mut length = 0;
    let mut authorized = false;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        authorized |=
            lower.strip_prefix("authorization: ").is_some() && line.ends_with(&format!("ApiKey {API_KEY}"));
        authorized |= lower.starts_with("x-api-key: ") && line.ends_with(API_KEY);
        if request.is_empty() {
            request = line.to_owned();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let fault = state.lock().unwrap().faults.pop_front();
    if matches!(fault, Some(Fault::Before)) {
        return Ok(());
    }
    let delay = state.lock().unwrap().delay;
    std::thread::sleep(delay);
    let (status, answer, retry_after) = match fault {
        Some(Fault::Status(status, retry_after)) => (status, Value::from("busy"), retry_after),
        Some(Fault::Garbage) => (200, Value::from("welcome"), None),
        _ if !authorized => (401, Value::from("Unauthorized"), None),
        _ if !request.starts_with("POST /api/v1/ves/events/ingest ") => (404, Value::from("Not Found"), None),
        _ => {
            let (status, mut answer) = ingest(&body, &mut state.lock().unwrap(), key);
            let receipts = answer["receipts"].as_array_mut();
            match (&fault, receipts) {
                (Some(Fault::Silent), Some(receipts)) => receipts.truncate(receipts.len() / 2),
                (Some(Fault::Forged), Some(receipts)) => {
                    for receipt in receipts {
                        receipt["sequencerSignature"] = "11".repeat(64).into();
                    }
                }
                (Some(Fault::Bulky), Some(receipts)) => {
                    for receipt in receipts {
                        receipt["more"] = "x".repeat(20_000).into();
                    }
                }
                (Some(Fault::Swapped), Some(receipts)) => {
                    let first = receipts[0]["sequenceNumber"].clone();
                    receipts[0]["sequenceNumber"] = receipts[1]["sequenceNumber"].clone();
                    receipts[1]["sequenceNumber"] = first;
                }
                _ => {}
            }
            (status, answer, None)
        }
    };
    if matches!(fault, Some(Fault::After)) {
        return Ok(());
    }
    let text = answer.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n"
    )?;
    if let Some(seconds) = retry_after {
        write!(stream, "retry-after: {seconds}\r\n")?;
    }
    write!(stream, "content-length: {}\r\n\r\n{text}", text.len())?;
    stream.flush()
}

fn error(code: &str, number: u32, message: &str) -> Value {
    json!({"error": {"code": code, "numeric_code": number, "message": message}})
}

fn ingest(body: &[u8], state: &mut State, key: &SigningKey) -> (u16, Value) {
    if body.len() > 10 << 20 {
        return (413, Value::from("length limit exceeded"));
    }
    let request: Value = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(e) => return (400, Value::from(e.to_string())),
    };
    let events = request["events"].as_array().cloned().unwrap_or_default();
    state.requests.push(events.len());
    if events.len() > 1000 {
        return (400, error("BATCH_TOO_LARGE", 3001, "at most 1000 events"));
    }
    let of = |name: &str| -> HashSet<String> { events.iter().map(|e| e[name].to_string()).collect() };
    assert_eq!(
        (of("tenant_id").len(), of("store_id").len()),
        (1, 1),
        "one stream a request"
    );
    assert_eq!(
        of("source_agent_id"),
        HashSet::from([request["agentId"].to_string()]),
        "one agent a request"
    );
    let mut parsed = Vec::new();
    // The text of the body, not of the values: numbers must reach the hash as they came.
    #[derive(serde::Deserialize)]
    struct Request {
        events: Vec<WireEvent>,
    }
    let wires: Request = match serde_json::from_slice(body) {
        Ok(request) => request,
        Err(e) => return (400, Value::from(e.to_string())),
    };
    for (wire, value) in wires.events.into_iter().zip(&events) {
        let id = value["event_id"].as_str().unwrap().to_owned();
        match wire.into_event() {
            Ok(event) => parsed.push((id, event, value)),
            Err(_) => {
                let message = format!("Event {id} missing payload for plaintext payload_kind");
                return (400, error("INVALID_FIELD_VALUE", 3003, &message));
            }
        }
    }
    if parsed
        .iter()
        .any(|(_, event, _)| event.payload.json().len() > 1 << 20)
    {
        return (413, Value::from("payload too large"));
    }
    let is_new = |state: &State, id: &String| !state.stored.contains_key(id);
    let fails = parsed.iter().any(|(id, _, value)| {
        is_new(state, id) && (holds_nul(value) || state.counter_behind || state.poisoned.contains(id))
    });
    if fails {
        return (500, error("INTERNAL_ERROR", 8999, "Internal server error"));
    }
    let stream = parsed[0].1.stream;
    let (mut receipts, mut rejections, mut accepted) = (Vec::new(), Vec::new(), Vec::new());
    let mut in_batch = HashSet::new();
    for (id, event, value) in parsed {
        let mut reject = |reason: String, message: String| {
            rejections.push(json!({"event_id": id, "reason": reason, "message": message}));
        };
        if !in_batch.insert(id.clone()) {
            reject(
                "duplicate_event_id".into(),
                format!("Event {id} duplicated in batch"),
            );
            continue;
        }
        // Before all else, and before any key is looked at.
        if let Some(stored) = state.stored.get(&id) {
            let mut content = value.clone();
            content.as_object_mut().unwrap().remove("agent_signature_bundle");
            if stored.stream != event.stream {
                reject("duplicate_event_id".into(), "Event ID already exists".into());
            } else if stored.content != content {
                reject(
                    "duplicate_event_id".into(),
                    "Event ID already exists with different contents".into(),
                );
            } else if let Some(receipt) = &stored.receipt {
                receipts.push(receipt.clone());
            } else {
                reject(
                    "duplicate_event_id".into(),
                    "Event already exists but receipt not found".into(),
                );
            }
            continue;
        }
        if let Some((reason, message)) = refusal(&event, state) {
            reject(reason, message);
            continue;
        }
        if let Some(command) = event.command_id
            && !state.commands.insert((stream, command.to_string()))
        {
            reject(
                "duplicate_command_id".into(),
                format!("Command {command} already processed"),
            );
            continue;
        }
        let entity = (stream, event.entity_type.clone(), event.entity_id.clone());
        let actual = state.versions.get(&entity).copied().unwrap_or(0);
        if let Some(expected) = event.base_version.filter(|expected| *expected != actual) {
            let message = format!("expected {expected}, actual {actual}");
            reject(
                format!("version_conflict: {message}"),
                format!("Version conflict: {message}"),
            );
            continue;
        }
        *state.versions.entry(entity).or_default() += 1;
        let number = state.counters.entry(stream).or_default();
        *number += 1;
        let hash = receipt_hash(&stream, &event.event_id, *number, &event.signing_hash());
        let receipt = json!({
            "sequencerId": "5e9e0000-0000-4000-8000-000000000001", "eventId": id, "sequenceNumber": *number,
            "sequencedAt": "2026-11-20T05:34:20.758654466+00:00", "receiptHash": hash.to_string(),
            "signatureAlg": "ed25519", "sequencerSignature": sign_receipt_hash(key, &hash).to_string(),
            "sequencerKeyVersion": 0, "receiptSignatureScheme": 1,
        });
        accepted.push(*number);
        receipts.push(receipt.clone());
        // What jsonb gives back: an integral float from 1e16 on comes back as an integer.
        let mut content = as_jsonb(value);
        content.as_object_mut().unwrap().remove("agent_signature_bundle");
        state.stored.insert(
            id,
            Stored {
                content,
                stream,
                receipt: Some(receipt),
            },
        );
        state.log.push(event);
    }
    let mut answer = json!({
        "batchId": uuid::Uuid::from_u128(state.requests.len() as u128), "eventsAccepted": accepted.len(),
        "eventsRejected": rejections.len(), "sequenceStart": accepted.first(), "sequenceEnd": accepted.last(),
        "headSequence": state.counters.get(&stream).copied().unwrap_or(0), "rejections": rejections,
    });
    // The real one leaves the field out when there are none.
    if !receipts.is_empty() {
        answer["receipts"] = receipts.into();
    }
    (200, answer)
}

fn refusal(event: &Event, state: &State) -> Option<(String, String)> {
    let say = |reason: &str, message: &str| Some((reason.to_owned(), message.to_owned()));
    if event.ves_version != 1 {
        return say(
            "unsupported_version",
            &format!("Expected VES version 1, got {}", event.ves_version),
        );
    }
    if event.created_at.parse::<Timestamp>().is_err() {
        return say("schema_validation: created_at", "created_at must be RFC3339");
    }
    if let EventCheck::Mismatch(what) = event.check_payload() {
        return if what.contains("cipher") {
            say("invalid_cipher_hash", "Cipher hash verification failed")
        } else {
            say("invalid_payload_hash", "Payload hash verification failed")
        };
    }
    // At now, whenever the event was made.
    let now = Timestamp(jiff::Timestamp::now().as_microsecond());
    match state.keys.check(event, &event.signing_hash(), now) {
        SignatureCheck::Valid => None,
        SignatureCheck::Invalid => say(
            "invalid_signature",
            "Agent signature verification failed: VerificationFailed",
        ),
        SignatureCheck::KeyUnknown => say("agent_key_invalid: Agent key not found", "Agent key not found"),
        _ => say(
            "agent_key_invalid: Agent key has been revoked",
            "Agent key has been revoked",
        ),
    }
}

fn holds_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(holds_nul),
        Value::Object(map) => map
            .iter()
            .any(|(key, value)| key.contains('\0') || holds_nul(value)),
        _ => false,
    }
}

fn as_jsonb(value: &Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let float = number.as_f64().unwrap();
            let integral = float.fract() == 0.0 && float.abs() >= 1e16;
            if integral && (0.0..18_446_744_073_709_551_616.0).contains(&float) {
                Value::from(float as u64)
            } else if integral && (-9_223_372_036_854_775_808.0..0.0).contains(&float) {
                Value::from(float as i64)
            } else {
                value.clone()
            }
        }
        Value::Array(values) => values.iter().map(as_jsonb).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), as_jsonb(value)))
            .collect(),
        other => other.clone(),
    }
}
