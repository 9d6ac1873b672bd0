//! A double of the sequencer's gRPC service, on HTTP/2 itself, so that it can also misbehave.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use fixtures::Log;
use grpc_client::messages::{
    EncryptedPayload, EventEnvelope, GetSyncStateRequest, HpkeParams, PullEventsRequest, PullEventsResponse,
    RecipientKey, SequencedEvent, SignatureBundle, SyncState, Timestamp,
};
use h2::server::SendResponse;
use prost::Message as _;
use serde_json::Value;
use ves::{Event, Payload, StreamKey};

/// How it misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Answers with numbers in another order.
    OutOfOrder,
    /// Gives one number twice.
    Repeated,
    /// Gives numbers that were not asked for.
    Elsewhere,
    /// Gives events of another tenant under this one's numbers.
    OtherTenant,
    /// Says that there is more and more, and gives nothing.
    Endless,
    /// A message that is larger than any.
    Giant,
    /// What is no message.
    Garbage,
    /// Takes questions and never answers.
    Silent,
    /// Breaks off each connection after one answer, and refuses every third question.
    Unsteady,
    /// Takes so many questions in a time, and is asked too fast.
    Limited,
    /// Lets nobody in.
    Closed,
    /// Is another service.
    Unimplemented,
    /// Fails at one number.
    Unwell(u64),
    /// Lacks one number.
    Hole(u64),
    /// Lacks what its counter says that it gave out, from this number on.
    LostTail(u64),
    /// Its counter says less than its rows.
    Behind(u64),
}

/// A service with the events of a log.
pub struct Double {
    pub port: u16,
    asked: Arc<Mutex<Vec<(String, u64)>>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

/// The events of each stream, and what its counter says.
type Streams = BTreeMap<StreamKey, (BTreeMap<u64, SequencedEvent>, u64)>;

struct Served {
    streams: Streams,
    fault: Fault,
    key: Option<String>,
    asked: Arc<Mutex<Vec<(String, u64)>>>,
}

/// A status and what comes with it.
type Answer = Result<Vec<u8>, (u8, &'static str)>;

impl Double {
    /// Serves a log to whoever shows this key, if one is asked for.
    pub fn start(log: &Log, fault: Fault, key: Option<&str>) -> Self {
        let mut streams = Streams::new();
        for (stream, of) in &log.streams {
            let events = of.events.iter();
            let events =
                events.map(|(number, logged)| (*number, sent(&logged.event, *number, logged.sequenced_at)));
            streams.insert(
                *stream,
                (events.collect(), of.counter.map_or(0, |(counter, _)| counter)),
            );
        }
        Self::serve(streams, fault, key)
    }

    /// Serves what a snapshot holds.
    pub fn of_snapshot(path: &Path) -> Self {
        let mut streams = Streams::new();
        let target = cli_common::DbTarget::Snapshot(path.to_owned());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let log = event_log::Log::open(&target).await.unwrap();
            let mut view = log.view().await.unwrap();
            for head in view
                .heads(&event_log::StreamFilter::default())
                .await
                .unwrap()
                .rows
            {
                let range = 1..=head.last.unwrap_or(0);
                let entries = view.entries(&head.stream, range).await.unwrap().rows;
                let events = entries.iter().map(|of| {
                    (
                        of.sequence_number,
                        sent(&of.event, of.sequence_number, of.sequenced_at),
                    )
                });
                streams.insert(head.stream, (events.collect(), head.counter.unwrap_or(0)));
            }
        });
        Self::serve(streams, Fault::None, None)
    }

    fn serve(mut streams: Streams, fault: Fault, key: Option<&str>) -> Self {
        for (events, counter) in streams.values_mut() {
            match fault {
                Fault::Hole(number) => drop(events.remove(&number)),
                Fault::LostTail(from) => drop(events.split_off(&from)),
                Fault::Behind(number) => *counter = number,
                _ => {}
            }
        }
        let asked = Arc::new(Mutex::new(Vec::new()));
        let served = Arc::new(Served {
            streams,
            fault,
            key: key.map(|key| format!("ApiKey {key}")),
            asked: Arc::clone(&asked),
        });
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
                tell.send(listener.local_addr().unwrap().port()).unwrap();
                let accept = async {
                    loop {
                        let (socket, _) = listener.accept().await.unwrap();
                        tokio::spawn(connection(socket, Arc::clone(&served)));
                    }
                };
                tokio::select! {
                    () = accept => {}
                    _ = stopped => {}
                }
            });
        });
        Self {
            port: told.recv().unwrap(),
            asked,
            stop: Some(stop),
        }
    }

    pub fn url(&self) -> String {
        format!("grpc://127.0.0.1:{}", self.port)
    }

    /// From which numbers events were asked for, by stream.
    pub fn asked(&self) -> Vec<(String, u64)> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

async fn connection(socket: tokio::net::TcpStream, served: Arc<Served>) {
    let Ok(mut connection) = h2::server::handshake(socket).await else {
        return;
    };
    let mut answered = 0;
    while let Some(Ok((request, respond))) = connection.accept().await {
        answered += 1;
        if served.fault == Fault::Unsteady && answered == 3 {
            return;
        }
        tokio::spawn(question(request, respond, Arc::clone(&served)));
    }
}

async fn question(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    served: Arc<Served>,
) -> Option<()> {
    let path = request.uri().path().to_owned();
    let shown = request.headers().get("authorization").cloned();
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
        bytes.extend_from_slice(&chunk);
    }
    let shown = shown.as_ref().and_then(|value| value.to_str().ok());
    let answer = match served.fault {
        Fault::Silent => {
            tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
            return None;
        }
        Fault::Closed => Err((7, "not \u{1b}[31myours")),
        Fault::Unimplemented => Err((12, "")),
        _ if served.key.is_some() && shown.is_none() => Err((16, "authentication required")),
        _ if served.key.is_some() && served.key.as_deref() != shown => Err((16, "invalid api key")),
        _ if path == "/stateset.sequencer.v2.Sequencer/GetSyncState" => served.head(&bytes[5..]),
        _ if path == "/stateset.sequencer.v2.Sequencer/PullEvents" => served.events(&bytes[5..]),
        _ => Err((12, "no such method")),
    };
    let head = http::Response::builder()
        .header("content-type", "application/grpc")
        .body(())
        .unwrap();
    let mut stream = respond.send_response(head, false).ok()?;
    let mut trailers = http::HeaderMap::new();
    match answer {
        Ok(message) => {
            let length = match served.fault {
                Fault::Giant => u32::MAX,
                _ => u32::try_from(message.len()).unwrap(),
            };
            let mut frame = vec![0];
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&message);
            let mut left = Bytes::from(frame);
            stream.reserve_capacity(left.len());
            while !left.is_empty() {
                let room = std::future::poll_fn(|context| stream.poll_capacity(context))
                    .await?
                    .ok()?;
                stream
                    .send_data(left.split_to(room.min(left.len())), false)
                    .ok()?;
            }
            trailers.insert("grpc-status", "0".parse().unwrap());
        }
        Err((code, message)) => {
            trailers.insert("grpc-status", code.to_string().parse().unwrap());
            let message = message.replace('\u{1b}', "%1B");
            trailers.insert("grpc-message", message.parse().unwrap());
        }
    }
    stream.send_trailers(trailers).ok()
}

impl Served {
    fn stream(&self, tenant: &str, store: &str) -> Option<&(BTreeMap<u64, SequencedEvent>, u64)> {
        let key = StreamKey::new(tenant.parse().ok()?, store.parse().ok()?);
        self.streams.get(&key)
    }

    /// The counter, whatever rows there are.
    fn head(&self, message: &[u8]) -> Answer {
        let asked = GetSyncStateRequest::decode(message).map_err(|_| (3, "no request"))?;
        let stream = self.stream(&asked.tenant_id, &asked.store_id);
        let state = SyncState {
            head_sequence: if self.fault == Fault::Endless {
                i64::MAX as u64
            } else {
                stream.map_or(0, |(_, counter)| *counter)
            },
            tenant_id: asked.tenant_id,
            store_id: asked.store_id,
        };
        Ok(state.encode_to_vec())
    }

    /// As the real service: a range with a hole is refused as a whole, a range that its rows do not reach to the end of is not,
    /// whatever the counter says, and 1000 numbers are the most. The head in the answer is the counter.
    fn events(&self, message: &[u8]) -> Answer {
        let asked = PullEventsRequest::decode(message).map_err(|_| (3, "no request"))?;
        let (from, limit) = (asked.from_sequence.max(1), u64::from(asked.limit.min(1000)));
        let times = {
            let mut all = self.asked.lock().unwrap();
            all.push((asked.store_id.clone(), from));
            all.len()
        };
        let none = (BTreeMap::new(), 0);
        let stream = self.stream(&asked.tenant_id, &asked.store_id);
        let (events, head) = stream.unwrap_or(&none);
        let end = from.saturating_add(limit - 1);
        let mut given: Vec<SequencedEvent> =
            events.range(from..=end).map(|(_, event)| event.clone()).collect();
        let contiguous = given
            .iter()
            .map(|event| event.sequence_number)
            .eq(from..from + given.len() as u64);
        let highest = events.last_key_value().map_or(0, |(last, _)| *last);
        let last = given.last().map_or(from - 1, |event| event.sequence_number);
        if !contiguous || (last < end && highest > last) {
            return Err((11, "sequence gap in range"));
        }
        let head = *head;
        let mut head_sequence = head;
        match self.fault {
            Fault::OutOfOrder => given.reverse(),
            Fault::Repeated if given.len() > 1 => given[1] = given[0].clone(),
            Fault::Elsewhere => given.iter_mut().for_each(|event| event.sequence_number += 5000),
            Fault::OtherTenant => given.iter_mut().for_each(|event| {
                if let Some(envelope) = &mut event.envelope {
                    envelope.tenant_id = "00000000-0000-4000-8000-000000000001".into();
                }
            }),
            Fault::Endless => {
                given.clear();
                head_sequence = i64::MAX as u64;
            }
            Fault::Garbage => return Ok(vec![0xff; 100]),
            Fault::Unsteady if times % 3 == 0 => return Err((14, "try again")),
            Fault::Limited if (3..7).contains(&times) => return Err((8, "rate limit exceeded")),
            Fault::Unwell(number) if given.iter().any(|event| event.sequence_number == number) => {
                return Err((13, "internal error"));
            }
            _ => {}
        }
        let answer = PullEventsResponse {
            events: given.iter().map(prost::Message::encode_to_vec).collect(),
            next_sequence: if head_sequence > end {
                end + 1
            } else {
                head_sequence + 1
            },
            has_more: head_sequence > end,
            head_sequence,
        };
        Ok(answer.encode_to_vec())
    }
}

/// An event as the service sends it: its time as an instant, what is not there as nothing, its receipt's hash made anew.
fn sent(event: &Event, number: u64, sequenced_at: ves::Timestamp) -> SequencedEvent {
    let instant = |text: &str| {
        let time: ves::Timestamp = text.parse().unwrap();
        let fraction = text.split_once('.').map_or("", |(_, rest)| rest);
        let digits: String = fraction.chars().take_while(char::is_ascii_digit).collect();
        Timestamp {
            seconds: time.0.div_euclid(1_000_000),
            nanos: format!("{digits:0<9}")[..9].parse().unwrap(),
        }
    };
    let (payload_kind, payload, payload_encrypted) = match &event.payload {
        Payload::Plain(json) => {
            let value: Value = serde_json::from_str(json).unwrap();
            (1, serde_json::to_vec(&value).unwrap(), None)
        }
        Payload::Encrypted(json) => (2, Vec::new(), Some(encrypted(json))),
    };
    SequencedEvent {
        envelope: Some(EventEnvelope {
            event_id: event.event_id.to_string(),
            command_id: event.command_id.map(|id| id.to_string()).unwrap_or_default(),
            tenant_id: event.stream.tenant_id.to_string(),
            store_id: event.stream.store_id.to_string(),
            entity_type: event.entity_type.clone(),
            entity_id: event.entity_id.clone(),
            event_type: event.event_type.clone(),
            source_agent: event.source_agent_id.to_string(),
            ves_version: event.ves_version,
            payload_kind,
            payload,
            payload_encrypted,
            payload_plain_hash: event.payload_plain_hash.0.to_vec(),
            payload_cipher_hash: event.payload_cipher_hash.0.to_vec(),
            agent_key_id: event.agent_key_id,
            agent_signature: event.agent_signature.0.to_vec(),
            base_version: event.base_version.unwrap_or(0).try_into().unwrap(),
            created_at: Some(instant(&event.created_at)),
            agent_signature_scheme: event.agent_signature_scheme.0.into(),
            agent_signature_bundle: event.agent_signature_bundle.as_deref().map(signatures),
        }),
        sequence_number: number,
        sequenced_at: Some(instant(&sequenced_at.to_string())),
        receipt_hash: ves::receipt::receipt_hash(
            &event.stream,
            &event.event_id,
            number,
            &event.signing_hash(),
        )
        .0
        .to_vec(),
        receipt_signature_scheme: 0,
        receipt_signature_bundle: None,
    }
}

/// The bundle of a row, whose JSON has lists of numbers.
fn signatures(json: &[u8]) -> SignatureBundle {
    let value: Value = serde_json::from_slice(json).unwrap();
    let bytes = |name: &str| {
        let list = value[name].as_array().cloned().unwrap_or_default();
        list.iter().map(|byte| byte.as_u64().unwrap() as u8).collect()
    };
    SignatureBundle {
        ed25519_signature: bytes("ed25519_signature"),
        ml_dsa_65_signature: bytes("ml_dsa_65_signature"),
    }
}

fn encrypted(json: &str) -> EncryptedPayload {
    let value: Value = serde_json::from_str(json).unwrap();
    let bytes = |value: &Value| {
        URL_SAFE_NO_PAD
            .decode(value.as_str().unwrap().trim_end_matches('='))
            .unwrap()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let recipients = value["recipients"].as_array().unwrap().iter().map(|of| {
        RecipientKey {
            recipient_kid: of["recipient_kid"].as_u64().unwrap().try_into().unwrap(),
            ephemeral_public_key: bytes(&of["enc_b64u"]),
            wrapped_dek: bytes(&of["ct_b64u"]),
        }
        .encode_to_vec()
    });
    EncryptedPayload {
        enc_version: 1,
        aead: text(&value["aead"]),
        nonce: bytes(&value["nonce_b64u"]),
        ciphertext: bytes(&value["ciphertext_b64u"]),
        tag: bytes(&value["tag_b64u"]),
        recipients: recipients.collect(),
        hpke: Some(HpkeParams {
            mode: text(&value["hpke"]["mode"]),
            kem: text(&value["hpke"]["kem"]),
            kdf: text(&value["hpke"]["kdf"]),
            aead: text(&value["hpke"]["aead"]),
        }),
    }
}
