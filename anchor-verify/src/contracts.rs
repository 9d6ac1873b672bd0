//! What the logs of the two contracts say.
//!
//! Both take any 32 bytes for any of their values, so a log is believed only if it could have come from
//! a sequencer: identifiers that are UUIDs, a range that starts at 1 or later, a count that is the range's.

use alloy::primitives::B256;
use alloy::sol_types::SolEvent;
use uuid::Uuid;
use ves::{BatchId, Hash32, StoreId, StreamKey, TenantId};

use crate::anchor::{AnchorKind, check_range};

// The macro writes public types that cannot be documented one by one.
#[allow(missing_docs)]
mod events {
    alloy::sol! {
        event CommitmentAnchored(bytes32 indexed batchId, bytes32 indexed tenantId, bytes32 storeId, bytes32 eventsRoot, bytes32 stateRoot, uint64 sequenceStart, uint64 sequenceEnd, uint32 eventCount, uint256 timestamp);
        event BatchCommitted(bytes32 indexed batchId, bytes32 indexed tenantStoreKey, bytes32 eventsRoot, bytes32 newStateRoot, uint64 sequenceStart, uint64 sequenceEnd, uint32 eventCount);
        event BatchAnchored(bytes32 indexed batchRoot, uint256 commitmentCount, uint256 timestamp);
    }
}
use events::{BatchAnchored, BatchCommitted, CommitmentAnchored};

/// What one log says was anchored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AnchoredLog {
    /// Which of the two events it was.
    pub kind: AnchorKind,
    /// The id that the sequencer gave the batch.
    pub batch_id: BatchId,
    /// The stream, where the log names it.
    pub stream: Option<StreamKey>,
    /// keccak256(tenant32 ‖ store32).
    pub tenant_store_key: Hash32,
    /// The Merkle root.
    pub events_root: Hash32,
    /// The state root after the batch.
    pub state_root: Hash32,
    /// First number.
    pub sequence_start: u64,
    /// Last number.
    pub sequence_end: u64,
    /// How many.
    pub event_count: u32,
    /// The time of the block, where the log names it.
    pub timestamp: Option<u64>,
}

/// What a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// A batch that was anchored.
    Anchor(Box<AnchoredLog>),
    /// `BatchAnchored`, a summary of several anchors that have logs of their own. It names no stream and no range.
    Summary,
    /// An event that neither contract has.
    UnknownTopic,
}

/// The first topics of the logs that are anchors.
pub fn anchor_topics() -> [Hash32; 2] {
    [CommitmentAnchored::SIGNATURE_HASH, BatchCommitted::SIGNATURE_HASH].map(|topic| Hash32(topic.0))
}

/// Decodes the topics and data of a log.
///
/// # Errors
/// A log with the topic of an anchor that cannot have come from a sequencer: another number of topics, data
/// that is not exactly as long as the event's, values out of range, identifiers that are no UUIDs, a
/// range and a count that do not fit.
pub fn decode(topics: &[[u8; 32]], data: &[u8]) -> Result<Decoded, String> {
    let Some(first) = topics.first() else {
        return Ok(Decoded::UnknownTopic);
    };
    let topic0 = B256::from(*first);
    if topic0 == BatchAnchored::SIGNATURE_HASH {
        return Ok(Decoded::Summary);
    }
    let anchored = if topic0 == CommitmentAnchored::SIGNATURE_HASH {
        let log: CommitmentAnchored = strict(topics, data, 7)?;
        let stream = StreamKey::new(
            TenantId(uuid("tenantId", log.tenantId)?),
            StoreId(uuid("storeId", log.storeId)?),
        );
        AnchoredLog {
            kind: AnchorKind::StateSetAnchor,
            batch_id: BatchId(uuid("batchId", log.batchId)?),
            stream: Some(stream),
            tenant_store_key: crate::anchor::tenant_store_key(&stream),
            events_root: Hash32(log.eventsRoot.0),
            state_root: Hash32(log.stateRoot.0),
            sequence_start: log.sequenceStart,
            sequence_end: log.sequenceEnd,
            event_count: log.eventCount,
            timestamp: Some(u64::try_from(log.timestamp).map_err(|_| "timestamp is out of range")?),
        }
    } else if topic0 == BatchCommitted::SIGNATURE_HASH {
        let log: BatchCommitted = strict(topics, data, 5)?;
        AnchoredLog {
            kind: AnchorKind::SetRegistry,
            batch_id: BatchId(uuid("batchId", log.batchId)?),
            stream: None,
            tenant_store_key: Hash32(log.tenantStoreKey.0),
            events_root: Hash32(log.eventsRoot.0),
            state_root: Hash32(log.newStateRoot.0),
            sequence_start: log.sequenceStart,
            sequence_end: log.sequenceEnd,
            event_count: log.eventCount,
            timestamp: None,
        }
    } else {
        return Ok(Decoded::UnknownTopic);
    };
    check_range(
        anchored.sequence_start,
        anchored.sequence_end,
        anchored.event_count,
    )?;
    Ok(Decoded::Anchor(Box::new(anchored)))
}

/// Whose a log is said to be, where that can be read of a log that cannot be an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct NamedStream {
    pub batch_id: Option<BatchId>,
    pub tenant_store_key: Option<Hash32>,
}

/// What can be read of a log with the topic of an anchor, whatever is wrong with the rest of it.
pub(crate) fn named(topics: &[[u8; 32]], data: &[u8]) -> NamedStream {
    let id = |word: &[u8; 32]| uuid("", B256::from(*word)).ok();
    let batch_id = topics.get(1).and_then(id).map(BatchId);
    let is = |topic: B256| topics.first() == Some(&topic.0);
    let tenant_store_key = if is(CommitmentAnchored::SIGNATURE_HASH) {
        let tenant = topics.get(2).and_then(id);
        let store = data.first_chunk::<32>().and_then(id);
        let stream = tenant
            .zip(store)
            .map(|(t, s)| StreamKey::new(TenantId(t), StoreId(s)));
        stream.map(|stream| crate::anchor::tenant_store_key(&stream))
    } else if is(BatchCommitted::SIGNATURE_HASH) {
        topics.get(2).map(|word| Hash32(*word))
    } else {
        None
    };
    NamedStream {
        batch_id,
        tenant_store_key,
    }
}

/// All fields of these events are one word each, so the right length is known. A decoder for itself would
/// pass over words behind them.
fn strict<E: SolEvent>(topics: &[[u8; 32]], data: &[u8], words: usize) -> Result<E, String> {
    if topics.len() != 3 {
        return Err(format!("it has {} topics, not 3", topics.len()));
    }
    if data.len() != words * 32 {
        return Err(format!("its data has {} bytes, not {}", data.len(), words * 32));
    }
    E::decode_raw_log_validate(topics.iter().map(B256::from), data).map_err(|error| error.to_string())
}

fn uuid(field: &str, word: B256) -> Result<Uuid, String> {
    match word.0.split_last_chunk::<16>() {
        Some((id, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])) => {
            Uuid::from_slice(id).map_err(|error| format!("{field}: {error}"))
        }
        _ => Err(format!("{field} {word} is not a UUID followed by 16 zero bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(number: u64) -> [u8; 32] {
        let mut word = [0; 32];
        word[24..].copy_from_slice(&number.to_be_bytes());
        word
    }

    fn id(fill: u8) -> [u8; 32] {
        let mut word = [0; 32];
        word[..16].fill(fill);
        word
    }

    /// A log of each contract: topics, data words.
    fn good(kind: AnchorKind) -> (Vec<[u8; 32]>, Vec<[u8; 32]>) {
        match kind {
            AnchorKind::StateSetAnchor => (
                vec![CommitmentAnchored::SIGNATURE_HASH.0, id(1), id(2)],
                vec![
                    id(3),
                    [4; 32],
                    [5; 32],
                    word(10),
                    word(19),
                    word(10),
                    word(1_700_000_000),
                ],
            ),
            AnchorKind::SetRegistry => (
                vec![BatchCommitted::SIGNATURE_HASH.0, id(1), [9; 32]],
                vec![[4; 32], [5; 32], word(10), word(19), word(10)],
            ),
        }
    }

    fn why(topics: &[[u8; 32]], data: &[[u8; 32]]) -> String {
        decode(topics, data.as_flattened()).unwrap_err()
    }

    #[test]
    fn topics_are_those_of_the_contracts() {
        for (hash, text) in [
            (
                CommitmentAnchored::SIGNATURE_HASH,
                "c780e2bc15a6058af6a033362c346780c81f2a531fa72e8fffd0570ecc91e848",
            ),
            (
                BatchCommitted::SIGNATURE_HASH,
                "1b2cc50ea54dce1d372450a8dc503a51775ab92dc7e68d579ce3fbb4af25cab3",
            ),
            (
                BatchAnchored::SIGNATURE_HASH,
                "569739a8a132d28586d65d35b6a86902bf0adbce83a4651378ff888d03b70255",
            ),
        ] {
            assert_eq!(hex::encode(hash), text);
        }
    }

    #[test]
    fn good_logs_are_read() {
        for kind in [AnchorKind::StateSetAnchor, AnchorKind::SetRegistry] {
            let (topics, data) = good(kind);
            let Decoded::Anchor(anchor) = decode(&topics, data.as_flattened()).unwrap() else {
                panic!()
            };
            assert_eq!(
                (anchor.sequence_start, anchor.sequence_end, anchor.event_count),
                (10, 19, 10)
            );
            assert_eq!(
                (anchor.events_root, anchor.state_root),
                (Hash32([4; 32]), Hash32([5; 32]))
            );
            assert_eq!(anchor.kind, kind);
        }
        assert_eq!(decode(&[[7; 32]], &[]), Ok(Decoded::UnknownTopic));
        assert_eq!(decode(&[], &[]), Ok(Decoded::UnknownTopic));
        assert_eq!(
            decode(&[BatchAnchored::SIGNATURE_HASH.0], &[]),
            Ok(Decoded::Summary)
        );
    }

    #[test]
    fn what_no_sequencer_anchors_is_refused() {
        for kind in [AnchorKind::StateSetAnchor, AnchorKind::SetRegistry] {
            let (topics, data) = good(kind);
            let roots = if kind == AnchorKind::StateSetAnchor { 1 } else { 0 };
            let (start, end, count) = (roots + 2, roots + 3, roots + 4);
            assert!(why(&topics[..2], &data).contains("2 topics"));
            assert!(why(&[&topics[..], &[id(1)]].concat(), &data).contains("4 topics"));
            assert!(why(&topics, &[&data[..], &[[0; 32]]].concat()).contains("bytes"));
            assert!(why(&topics, &data[1..]).contains("bytes"));
            assert!(decode(&topics, &data.as_flattened()[1..]).is_err());

            let with = |at: usize, value: [u8; 32]| {
                let mut data = data.clone();
                data[at] = value;
                why(&topics, &data)
            };
            let mut overflow = word(10);
            overflow[23] = 1;
            with(start, overflow);
            with(end, overflow);
            with(count, word(1 << 32 | 10));
            assert!(with(count, word(9)).contains("not 9"));
            assert!(with(start, word(20)).contains("before it starts"));
            assert!(with(start, word(0)).contains("starts at 0"));
            assert!(with(end, word(u64::MAX)).contains("beyond"));

            // Equal in the first 16 bytes, so equal as a UUID: another batch all the same.
            let mut batch = id(1);
            batch[31] = 1;
            assert!(why(&[topics[0], batch, topics[2]], &data).contains("batchId"));
        }
        let (topics, data) = good(AnchorKind::StateSetAnchor);
        assert!(why(&[topics[0], topics[1], [2; 32]], &data).contains("tenantId"));
        let mut data = data;
        data[6] = [1; 32];
        assert!(why(&topics, &data).contains("timestamp"));
    }
}
