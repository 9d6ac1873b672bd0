//! One anchor: a batch of a stream as a contract recorded it.

use std::fmt;
use std::str::FromStr;

use alloy::primitives::{Address, keccak256};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ves::{BatchId, Hash32, StreamKey};

/// The 20-byte address of a contract. Written as `0x` and lower-case hex.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContractAddress(pub [u8; 20]);

impl fmt::Display for ContractAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for ContractAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContractAddress({self})")
    }
}

impl FromStr for ContractAddress {
    type Err = String;
    /// Reads 40 hex digits with or without `0x`. Digits of both cases are a checksum (EIP-55), which must be right: a
    /// contract with one digit wrong has no anchors, and looks like one that has none yet.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let address = Self::from_hex(s)?;
        let digits = s.strip_prefix("0x").unwrap_or(s);
        let mixed =
            digits.bytes().any(|b| b.is_ascii_lowercase()) && digits.bytes().any(|b| b.is_ascii_uppercase());
        let right = Address::from(address.0).to_checksum(None);
        if mixed && right.strip_prefix("0x") != Some(digits) {
            return Err(format!(
                "the checksum of contract address {s} does not hold (EIP-55): a digit is wrong, or its case; with these \
                 digits it is {right}"
            ));
        }
        Ok(address)
    }
}

impl ContractAddress {
    /// Reads 40 hex digits of either case, with or without `0x`, whatever their case says.
    fn from_hex(s: &str) -> Result<Self, String> {
        let mut address = [0; 20];
        hex::decode_to_slice(s.strip_prefix("0x").unwrap_or(s), &mut address).map_err(|_| {
            format!(
                "not a contract address (20 bytes as hex): {:?}",
                s.chars().take(60).collect::<String>()
            )
        })?;
        Ok(Self(address))
    }
}

impl Serialize for ContractAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContractAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::from_hex(&text).map_err(serde::de::Error::custom)
    }
}

/// Which contract's event an anchor was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnchorKind {
    /// `CommitmentAnchored` of StateSetAnchor, which takes any range and any root.
    StateSetAnchor,
    /// `BatchCommitted` of SetRegistry, which in its strict mode takes only what continues its last batch.
    SetRegistry,
}

impl fmt::Display for AnchorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AnchorKind::StateSetAnchor => "state_set_anchor",
            AnchorKind::SetRegistry => "set_registry",
        })
    }
}

/// One log of one contract: at this place of the chain, these roots were written for this batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The block's number.
    pub block_number: u64,
    /// The log's number in the block.
    pub log_index: u64,
    /// The hash of the block that holds the log.
    pub block_hash: Hash32,
    /// The transaction that wrote the log; nothing proves it, and zeros stand where a client did not say it.
    pub transaction_hash: Hash32,
    /// The time of the block in Unix seconds, where the log named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub block_timestamp: Option<u64>,
    /// The contract that wrote the log.
    pub contract: ContractAddress,
    /// Which of the two it is, by its event.
    pub kind: AnchorKind,
    /// The id that the sequencer gave the batch.
    pub batch_id: BatchId,
    /// The stream. SetRegistry's logs name only [`Anchor::tenant_store_key`], so there it is missing until
    /// somebody who knows the stream has resolved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamKey>,
    /// See [`tenant_store_key`].
    pub tenant_store_key: Hash32,
    /// The Merkle root of the batch (`merkle_root` of the commitment).
    pub events_root: Hash32,
    /// The state root after the batch (`new_state_root`).
    pub state_root: Hash32,
    /// First number of the batch.
    pub sequence_start: u64,
    /// Last number of the batch.
    pub sequence_end: u64,
    /// How many events: always `sequence_end - sequence_start + 1`.
    pub event_count: u32,
}

impl Anchor {
    pub(crate) fn check(&self) -> Result<(), String> {
        check_range(self.sequence_start, self.sequence_end, self.event_count)?;
        match &self.stream {
            Some(stream) if tenant_store_key(stream) != self.tenant_store_key => {
                Err("its tenant_store_key is not its stream's".into())
            }
            None if self.kind == AnchorKind::StateSetAnchor => Err("it names no stream".into()),
            _ => Ok(()),
        }
    }

    /// Where the log is said to be.
    pub(crate) fn place(&self) -> (Hash32, u64, ContractAddress) {
        (self.block_hash, self.log_index, self.contract)
    }

    /// What makes a log this log, in the order of the chain. The time is left out since some clients leave it out, and
    /// the stream since it may be resolved in one file and not in another.
    pub(crate) fn key(&self) -> impl Ord + use<> {
        let place = (
            self.block_number,
            self.log_index,
            self.block_hash,
            self.transaction_hash,
            self.contract,
            self.kind,
        );
        let range = (self.sequence_start, self.sequence_end);
        (
            place,
            self.batch_id,
            self.tenant_store_key,
            self.events_root,
            self.state_root,
            range,
        )
    }
}

/// What SetRegistry calls a stream: keccak256(tenant32 ‖ store32), each the UUID's 16 bytes and 16 zero bytes.
pub fn tenant_store_key(stream: &StreamKey) -> Hash32 {
    let mut preimage = [0; 64];
    preimage[..16].copy_from_slice(stream.tenant_id.as_bytes());
    preimage[32..48].copy_from_slice(stream.store_id.as_bytes());
    Hash32(keccak256(preimage).0)
}

/// Whether a batch of `count` events can be at these positions.
pub(crate) fn check_range(start: u64, end: u64, count: u32) -> Result<(), String> {
    if start == 0 {
        return Err("its range starts at 0; sequences start at 1".into());
    }
    if end < start {
        return Err(format!("its range ends before it starts: {start} to {end}"));
    }
    if i64::try_from(end).is_err() {
        return Err(format!(
            "its range ends at {end}, beyond what a sequencer can count"
        ));
    }
    // Cannot overflow: start is at least 1.
    if end - start + 1 != u64::from(count) {
        return Err(format!(
            "its range {start} to {end} is of {} events, not {count}",
            end - start + 1
        ));
    }
    Ok(())
}
