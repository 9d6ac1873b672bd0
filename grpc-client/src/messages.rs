//! The messages of `proto/sequencer_v2.proto`, by hand: a build needs no `protoc`.

/// Reads a message that was kept as it was sent.
///
/// # Errors
/// It is none of that kind.
pub fn read<T: prost::Message + Default>(bytes: &[u8]) -> Result<T, prost::DecodeError> {
    T::decode(bytes)
}

/// A point in time, to the nanosecond.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds of the second, from 0 to 999 999 999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

/// Asks for events of one stream.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PullEventsRequest {
    /// The tenant, as text.
    #[prost(string, tag = "1")]
    pub tenant_id: String,
    /// The store, as text.
    #[prost(string, tag = "2")]
    pub store_id: String,
    /// The first number that is wanted.
    #[prost(uint64, tag = "3")]
    pub from_sequence: u64,
    /// So many numbers, 1000 at most.
    #[prost(uint32, tag = "4")]
    pub limit: u32,
}

/// Events of one stream, in the order of their numbers.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PullEventsResponse {
    /// The events, each a [`SequencedEvent`] as it was sent: one that cannot be read does not spoil the others, and what is
    /// nothing but a beginning of a message does not take a thousand times its memory.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub events: Vec<Vec<u8>>,
    /// Where to go on, as the service says. Not gone by.
    #[prost(uint64, tag = "2")]
    pub next_sequence: u64,
    /// Whether the counter is behind the range. Not gone by.
    #[prost(bool, tag = "3")]
    pub has_more: bool,
    /// What the counter says.
    #[prost(uint64, tag = "4")]
    pub head_sequence: u64,
}

/// Asks how far a stream goes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct GetSyncStateRequest {
    /// The tenant, as text.
    #[prost(string, tag = "1")]
    pub tenant_id: String,
    /// The store, as text.
    #[prost(string, tag = "2")]
    pub store_id: String,
}

/// How far a stream goes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SyncState {
    /// The tenant, as text.
    #[prost(string, tag = "1")]
    pub tenant_id: String,
    /// The store, as text.
    #[prost(string, tag = "2")]
    pub store_id: String,
    /// What the counter says.
    #[prost(uint64, tag = "3")]
    pub head_sequence: u64,
}

/// An event with its number.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SequencedEvent {
    /// The event.
    #[prost(message, optional, tag = "1")]
    pub envelope: Option<EventEnvelope>,
    /// Its number.
    #[prost(uint64, tag = "2")]
    pub sequence_number: u64,
    /// When it got it.
    #[prost(message, optional, tag = "3")]
    pub sequenced_at: Option<Timestamp>,
    /// The hash of its receipt, made anew from the row; empty if it is not sent.
    #[prost(bytes = "vec", tag = "4")]
    pub receipt_hash: Vec<u8>,
    /// By which scheme the receipt is signed.
    #[prost(int32, tag = "5")]
    pub receipt_signature_scheme: i32,
    /// The receipt's signature. Releases up to 0.2.7 never send it.
    #[prost(message, optional, tag = "6")]
    pub receipt_signature_bundle: Option<SignatureBundle>,
}

/// An event as its agent made it, but for the rendering of its time.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EventEnvelope {
    /// The event, as text.
    #[prost(string, tag = "1")]
    pub event_id: String,
    /// The command, as text; empty if there is none.
    #[prost(string, tag = "2")]
    pub command_id: String,
    /// The tenant, as text.
    #[prost(string, tag = "3")]
    pub tenant_id: String,
    /// The store, as text.
    #[prost(string, tag = "4")]
    pub store_id: String,
    /// What the event is about.
    #[prost(string, tag = "5")]
    pub entity_type: String,
    /// Which one.
    #[prost(string, tag = "6")]
    pub entity_id: String,
    /// What happened.
    #[prost(string, tag = "7")]
    pub event_type: String,
    /// The agent, as text.
    #[prost(string, tag = "8")]
    pub source_agent: String,
    /// The version of the protocol.
    #[prost(uint32, tag = "9")]
    pub ves_version: u32,
    /// 1 plaintext, 2 encrypted.
    #[prost(int32, tag = "10")]
    pub payload_kind: i32,
    /// JSON, of a plaintext event.
    #[prost(bytes = "vec", tag = "11")]
    pub payload: Vec<u8>,
    /// The envelope, of an encrypted event.
    #[prost(message, optional, tag = "12")]
    pub payload_encrypted: Option<EncryptedPayload>,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "13")]
    pub payload_plain_hash: Vec<u8>,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "14")]
    pub payload_cipher_hash: Vec<u8>,
    /// Which of the agent's keys signed.
    #[prost(uint32, tag = "15")]
    pub agent_key_id: u32,
    /// 64 bytes.
    #[prost(bytes = "vec", tag = "16")]
    pub agent_signature: Vec<u8>,
    /// The entity's version that the client saw; 0 is 0 or none.
    #[prost(uint64, tag = "17")]
    pub base_version: u64,
    /// When the event was made.
    #[prost(message, optional, tag = "18")]
    pub created_at: Option<Timestamp>,
    /// By which scheme the agent signed.
    #[prost(int32, tag = "19")]
    pub agent_signature_scheme: i32,
    /// The signatures of other schemes.
    #[prost(message, optional, tag = "20")]
    pub agent_signature_bundle: Option<SignatureBundle>,
}

/// Signatures by scheme; what is not there is empty.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SignatureBundle {
    /// 64 bytes, or none.
    #[prost(bytes = "vec", tag = "1")]
    pub ed25519_signature: Vec<u8>,
    /// 3309 bytes, or none.
    #[prost(bytes = "vec", tag = "2")]
    pub ml_dsa_65_signature: Vec<u8>,
}

/// The envelope of a ciphertext.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct EncryptedPayload {
    /// 1.
    #[prost(uint32, tag = "1")]
    pub enc_version: u32,
    /// The cipher.
    #[prost(string, tag = "2")]
    pub aead: String,
    /// 12 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub nonce: Vec<u8>,
    /// The ciphertext.
    #[prost(bytes = "vec", tag = "4")]
    pub ciphertext: Vec<u8>,
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub tag: Vec<u8>,
    /// How its key is wrapped.
    #[prost(message, optional, tag = "6")]
    pub hpke: Option<HpkeParams>,
    /// For whom: each a [`RecipientKey`] as it was sent.
    #[prost(bytes = "vec", repeated, tag = "7")]
    pub recipients: Vec<Vec<u8>>,
}

/// How its key is wrapped.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct HpkeParams {
    /// The mode.
    #[prost(string, tag = "1")]
    pub mode: String,
    /// How the key is encapsulated.
    #[prost(string, tag = "2")]
    pub kem: String,
    /// How it is derived.
    #[prost(string, tag = "3")]
    pub kdf: String,
    /// The cipher.
    #[prost(string, tag = "4")]
    pub aead: String,
}

/// The wrapped key of one recipient.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RecipientKey {
    /// The recipient's key.
    #[prost(uint32, tag = "1")]
    pub recipient_kid: u32,
    /// 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub ephemeral_public_key: Vec<u8>,
    /// The key under which the payload is encrypted, wrapped.
    #[prost(bytes = "vec", tag = "3")]
    pub wrapped_dek: Vec<u8>,
}

#[cfg(test)]
mod tests {
    /// The fields of each message as `name = tag`, in order.
    fn fields<'a>(
        text: &'a str,
        begin: &str,
        field: impl Fn(&'a str) -> Option<(String, String)>,
    ) -> Vec<String> {
        let mut found = Vec::new();
        let mut message = None;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix(begin) {
                message = rest.split(' ').next();
            } else if line == "}" {
                message = None;
            } else if let (Some(message), Some((name, tag))) = (message, field(line)) {
                found.push(format!("{message}.{name} = {tag}"));
            }
        }
        found
    }

    #[test]
    fn the_structs_are_those_of_the_protocol_file() {
        let of_proto = fields(include_str!("../proto/sequencer_v2.proto"), "message ", |line| {
            let (left, right) = line.split_once(" = ")?;
            let name = left.rsplit(' ').next()?;
            Some((name.to_owned(), right.split(';').next()?.to_owned()))
        });
        let ours = include_str!("messages.rs");
        let ours =
            &ours[ours.find("pub struct PullEventsRequest").unwrap()..ours.find("#[cfg(test)]").unwrap()];
        let tag = std::cell::RefCell::new(String::new());
        let of_rust = fields(ours, "pub struct ", |line| {
            if let Some((_, right)) = line.split_once("tag = \"") {
                *tag.borrow_mut() = right.split('"').next()?.to_owned();
                return None;
            }
            let name = line.trim().strip_prefix("pub ")?.split(':').next()?;
            Some((name.to_owned(), tag.borrow().clone()))
        });
        assert!(of_proto.len() > 50, "{of_proto:?}");
        assert_eq!(of_rust, of_proto);
    }
}
