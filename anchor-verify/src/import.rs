//! What any JSON-RPC client has saved, made into an anchors file: logs into anchors, and headers, receipts and storage
//! proofs into what proves them.
//!
//! Each thing is told by what it has, not by its file's name or place: a file is one of them, an answer
//! (`{"result": …}`), an array or an object of such. What is refused is named by its file and place, and the rest is
//! read. Proofs are matched with anchors by the slots that contract and batch give.

mod saved;
mod summary;

pub use summary::{ContractSummary, StreamSummary, summarize};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use alloy::primitives::{B256, Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ves::{BatchId, Hash32, StreamKey};

use crate::anchors::{
    Anchor, AnchorKind, AnchorsErrorKind, AnchorsFile, ContractAddress, MAX_FILE_BYTES, read_limited,
};
use crate::chain::completeness::complete_of;
use crate::chain::parts::{
    AccountProof, BatchProof, BlockReceipts, ChainParts, Checkpoint, HeadProof, HeaderBytes, NodePool,
    RefusedAnchor, SlotProof, StorageProofs,
};
use crate::chain::receipt::Encoded;
use crate::chain::{header, heads, receipt, storage};
use crate::contracts::{Decoded, Named, decode, named};

/// A log that cannot be an anchor of a sequencer, or a header, receipt or proof that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedLog {
    /// The file.
    pub source: String,
    /// What it is: `log`, `header`, `receipt`, `proof`.
    pub what: &'static str,
    /// Its place among the file's things of all kinds, counted from 0.
    pub index: usize,
    /// Why.
    pub why: String,
}

impl fmt::Display for RefusedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} {}: {}", self.source, self.what, self.index, self.why)
    }
}

/// What came out of an import.
#[derive(Debug, Clone, Default)]
pub struct Import {
    /// The anchors, in the order of the chain, each log once.
    pub file: AnchorsFile,
    /// Logs that were read, whatever became of them.
    pub logs: usize,
    /// Logs that were refused.
    pub refused: Vec<RefusedLog>,
    /// Logs that the client marked as removed by a reorganisation of the chain.
    pub removed: usize,
    /// Logs that were there more than once.
    pub repeated: usize,
    /// `BatchAnchored` logs: summaries of anchors that have logs of their own.
    pub summaries: usize,
    /// Logs of contracts that were not asked for.
    pub other_contracts: usize,
    /// Logs of other events, by their first topic.
    pub unknown_topics: BTreeMap<String, usize>,
    /// SetRegistry's anchors whose stream is not known.
    pub unresolved: usize,
    /// Headers that were taken.
    pub headers: usize,
    /// Blocks whose receipts were taken.
    pub receipts: usize,
    /// Storage proofs of a batch in a contract that were taken.
    pub proofs: usize,
    /// Proved slots that are of no anchor.
    pub other_slots: usize,
    /// Contracts with logs that look like anchors in the receipts, though none of them was asked for or has logs of its
    /// own: imitators, or contracts that were forgotten.
    pub imitators: BTreeMap<ContractAddress, usize>,
    /// Anchors that the receipts have and the logs lack.
    pub from_receipts: usize,
}

/// Takes what was saved from files, one after the other.
#[derive(Debug, Default)]
pub struct Importer {
    chain_id: Option<u64>,
    contracts: Vec<ContractAddress>,
    /// Those that a file names.
    named: BTreeSet<ContractAddress>,
    anchors: Vec<Anchor>,
    in_receipts: Vec<Anchor>,
    chain: ChainParts,
    receipts: BTreeMap<Hash32, Vec<Encoded>>,
    receipt_sources: BTreeMap<Hash32, String>,
    proofs: Vec<SavedProof>,
    import: Import,
}

/// The blocks whose receipts were judged.
#[derive(Debug, Default)]
struct TakenReceipts {
    /// Those whose receipts give the root of their header.
    proven: HashSet<Hash32>,
    /// Those whose receipts do not make a whole.
    refused: HashSet<Hash32>,
}

/// An answer of `eth_getProof`, of a block if that is known.
#[derive(Debug)]
struct SavedProof {
    source: String,
    index: usize,
    block: Option<Hash32>,
    proof: ProofJson,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofJson {
    address: ContractAddress,
    nonce: U256,
    balance: U256,
    code_hash: Hash32,
    storage_hash: Hash32,
    account_proof: Vec<Bytes>,
    storage_proof: Vec<SlotJson>,
}

#[derive(Debug, Deserialize)]
struct SlotJson {
    key: U256,
    value: U256,
    proof: Vec<Bytes>,
}

/// What an object is told by.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape<'a> {
    #[serde(borrow)]
    result: Option<&'a RawValue>,
    #[serde(borrow)]
    topics: Option<&'a RawValue>,
    #[serde(borrow)]
    parent_hash: Option<&'a RawValue>,
    #[serde(borrow)]
    cumulative_gas_used: Option<&'a RawValue>,
    #[serde(borrow)]
    account_proof: Option<&'a RawValue>,
    #[serde(borrow)]
    hash: Option<&'a RawValue>,
    #[serde(borrow)]
    number: Option<&'a RawValue>,
    #[serde(borrow)]
    chain_id: Option<&'a RawValue>,
    #[serde(borrow)]
    block_hash: Option<&'a RawValue>,
    #[serde(borrow, rename = "StateSetAnchor")]
    state_set_anchor: Option<&'a RawValue>,
    #[serde(borrow, rename = "SetRegistry")]
    set_registry: Option<&'a RawValue>,
}

/// So many copies of a batch's storage proof are kept, so many ways to put a block's receipts together are tried: a few
/// nodes may contradict each other, a hostile file could do so without end.
const MAX_COPIES: usize = 8;
const MAX_CHOICES: usize = 64;

/// How deep things may be nested in a file.
const MAX_DEPTH: usize = 8;

/// Where in a file the reader is.
struct Place<'a> {
    source: &'a str,
    next: usize,
    /// Whether anything that is known was there.
    found: bool,
    /// Whether it is at an item of a list, which should be something.
    listed: bool,
}

/// A log. What enters no proof may be anything.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogJson<'a> {
    address: ContractAddress,
    topics: Vec<Hash32>,
    data: String,
    block_number: Option<String>,
    block_hash: Option<Hash32>,
    #[serde(borrow)]
    block_timestamp: Option<&'a RawValue>,
    transaction_hash: Option<Hash32>,
    log_index: Option<String>,
    #[serde(borrow)]
    removed: Option<&'a RawValue>,
}

impl LogJson<'_> {
    /// Whether a reorganisation of the chain took the log away.
    fn is_removed(&self) -> Result<bool, String> {
        match self.removed.map(RawValue::get) {
            None | Some("null" | "false" | "0" | "\"false\"" | "\"0x0\"") => Ok(false),
            Some("true" | "1" | "\"true\"" | "\"0x1\"") => Ok(true),
            Some(other) => Err(format!(
                "it says neither that it was removed nor that it was not: {}",
                other.chars().take(40).collect::<String>()
            )),
        }
    }
}

/// What a receipt says of all its logs.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReceiptJson<'a> {
    #[serde(borrow)]
    logs: Vec<&'a RawValue>,
    #[serde(borrow)]
    block_number: Option<&'a RawValue>,
    #[serde(borrow)]
    transaction_hash: Option<&'a RawValue>,
}

impl Importer {
    /// Logs of `contracts` alone are taken; of all contracts if it is empty. Logs do not name their chain, so the
    /// caller may.
    pub fn new(chain_id: Option<u64>, contracts: Vec<ContractAddress>) -> Self {
        Self {
            chain_id,
            contracts,
            ..Self::default()
        }
    }

    /// Takes what is in a file.
    ///
    /// # Errors
    /// The file cannot be read, has nothing in a form that is known, holds an answer with an error, or is of another
    /// chain.
    pub fn add_file(&mut self, path: &Path) -> Result<(), AnchorsErrorKind> {
        let bytes = read_limited(path, MAX_FILE_BYTES)?.ok_or(AnchorsErrorKind::TooLarge)?;
        self.add_json(&path.display().to_string(), &bytes)
    }

    /// Takes what is in a text. `source` names it in messages.
    ///
    /// # Errors
    /// There is nothing in a form that is known, an answer with an error, or another chain is named.
    pub fn add_json(&mut self, source: &str, bytes: &[u8]) -> Result<(), AnchorsErrorKind> {
        let bad = AnchorsErrorKind::NotLogs;
        let text = std::str::from_utf8(bytes).map_err(|e| bad(format!("not UTF-8: {e}")))?;
        let values = saved::values(text).map_err(bad)?;
        // What an answer with an error lacks is unknown, so errors are looked for before anything is taken.
        let errors = saved::errors(&values);
        if !errors.is_empty() {
            return Err(bad(saved::name_errors(&errors)));
        }
        let mut place = Place {
            source,
            next: 0,
            found: false,
            listed: false,
        };
        let mut empty = true;
        for json in values {
            self.walk(json, None, 0, &mut place)?;
            let text = json.get();
            empty &= text.starts_with('[') && text.trim_start_matches(['[', ' ', '\r', '\t', '\n']) == "]";
        }
        if place.found || empty {
            return Ok(());
        }
        Err(bad(
            "there are neither logs, headers, receipts nor proofs in it".into()
        ))
    }

    fn refuse(&mut self, place: &mut Place<'_>, what: &'static str, result: Result<(), String>) {
        let index = place.next;
        place.next += 1;
        place.found = true;
        if let Err(why) = result {
            self.import.refused.push(RefusedLog {
                source: place.source.to_owned(),
                what,
                index,
                why,
            });
        }
    }

    fn walk(
        &mut self,
        json: &RawValue,
        block: Option<Hash32>,
        depth: usize,
        place: &mut Place<'_>,
    ) -> Result<(), AnchorsErrorKind> {
        let text = json.get();
        if depth > MAX_DEPTH {
            return Err(AnchorsErrorKind::NotLogs("it is nested too deep".into()));
        }
        if text.starts_with('[') {
            let items: Vec<&RawValue> =
                serde_json::from_str(text).map_err(|e| AnchorsErrorKind::NotLogs(e.to_string()))?;
            for item in items {
                if item.get().starts_with(['[', '{']) {
                    place.listed = true;
                    self.walk(item, block, depth + 1, place)?;
                } else {
                    self.import.logs += 1;
                    self.refuse(place, "log", Err("not a log".into()));
                }
            }
            return Ok(());
        }
        if !text.starts_with('{') {
            return Ok(());
        }
        let shape: Shape<'_> =
            serde_json::from_str(text).map_err(|e| AnchorsErrorKind::NotLogs(e.to_string()))?;
        if let Some(result) = shape.result {
            place.listed = false;
            place.found |= result.get().trim_start_matches(['[', ' ', '\n']) == "]";
            return self.walk(result, block, depth + 1, place);
        }
        if shape.parent_hash.is_some() {
            let header = header::from_json(text).map(|header| self.chain.headers.push(header));
            self.refuse(place, "header", header);
        } else if shape.cumulative_gas_used.is_some() {
            let result = self.add_receipt(text, place);
            self.refuse(place, "receipt", result);
        } else if shape.account_proof.is_some() {
            let proof = serde_json::from_str(text).map_err(|e| format!("not a proof: {e}"));
            let proof = proof.map(|proof| {
                let source = place.source.to_owned();
                self.proofs.push(SavedProof {
                    source,
                    index: place.next,
                    block,
                    proof,
                });
            });
            self.refuse(place, "proof", proof);
        } else if shape.topics.is_some() {
            self.import.logs += 1;
            let log = self.add_log(text);
            self.refuse(place, "log", log);
        } else if let (Some(hash), Some(number)) = (shape.hash, shape.number) {
            place.found = true;
            self.add_head(hash, number, shape.chain_id)?;
        } else if let (Some(_), contracts) = (shape.chain_id, [shape.state_set_anchor, shape.set_registry]) {
            place.found = true;
            self.add_chain_id(shape.chain_id)?;
            for contract in contracts.into_iter().flatten() {
                #[derive(Deserialize)]
                struct Named {
                    address: ContractAddress,
                }
                let named: Named = serde_json::from_str(contract.get())
                    .map_err(|e| AnchorsErrorKind::NotLogs(format!("a contract without address: {e}")))?;
                self.named.insert(named.address);
            }
        } else {
            // By number, say, or with other things beside.
            let items: HashMap<String, &RawValue> =
                serde_json::from_str(text).map_err(|e| AnchorsErrorKind::NotLogs(e.to_string()))?;
            let mut inner: Vec<(String, &RawValue)> = items
                .into_iter()
                .filter(|(_, item)| item.get().starts_with(['[', '{']))
                .collect();
            if inner.is_empty() && place.listed {
                self.import.logs += 1;
                self.refuse(place, "log", Err("neither log, header, receipt nor proof".into()));
            }
            inner.sort_by(|a, b| a.0.cmp(&b.0));
            let of_block = shape
                .block_hash
                .and_then(|hash| serde_json::from_str(hash.get()).ok());
            for (_, item) in inner {
                // Lists of names stand beside proofs; they are none of ours.
                let plain = item.get().starts_with('[')
                    && serde_json::from_str::<Vec<&str>>(item.get()).is_ok_and(|names| !names.is_empty());
                if !plain {
                    self.walk(item, of_block.or(block), depth + 1, place)?;
                }
            }
        }
        Ok(())
    }

    fn add_chain_id(&mut self, chain_id: Option<&RawValue>) -> Result<(), AnchorsErrorKind> {
        let Some(found) = chain_id.and_then(|id| any_number(id.get())) else {
            return Ok(());
        };
        match self.chain_id {
            Some(expected) if expected != found => Err(AnchorsErrorKind::OtherChain { expected, found }),
            _ => {
                self.chain_id = Some(found);
                Ok(())
            }
        }
    }

    /// A block that somebody calls the head: where the file ends.
    fn add_head(
        &mut self,
        hash: &RawValue,
        number: &RawValue,
        chain_id: Option<&RawValue>,
    ) -> Result<(), AnchorsErrorKind> {
        let bad = || AnchorsErrorKind::NotLogs("a block's number or hash that is none".into());
        let hash = serde_json::from_str(hash.get()).map_err(|_| bad())?;
        let number = any_number(number.get()).ok_or_else(bad)?;
        self.add_chain_id(chain_id)?;
        self.chain.checkpoint = self.chain.checkpoint.max(Some(Checkpoint { number, hash }));
        Ok(())
    }

    fn add_receipt(&mut self, json: &str, place: &Place<'_>) -> Result<(), String> {
        let encoded = receipt::from_json(json)?;
        let block_hash = encoded.block_hash;
        self.receipts.entry(block_hash).or_default().push(encoded);
        self.receipt_sources
            .entry(block_hash)
            .or_insert_with(|| place.source.to_owned());
        let receipt: ReceiptJson<'_> =
            serde_json::from_str(json).map_err(|e| format!("not a receipt: {e}"))?;
        let number = receipt.block_number.and_then(|number| any_number(number.get()));
        let transaction = receipt
            .transaction_hash
            .and_then(|hash| serde_json::from_str(hash.get()).ok());
        for log in receipt.logs {
            self.add_receipt_log(log.get(), block_hash, number, transaction);
        }
        Ok(())
    }

    /// Looks at a log in a receipt, to find what the logs lack; it is counted nowhere. The receipt is what its bytes
    /// are: what its logs say of themselves beside enters no proof, and where it is not enough, the bytes are read.
    fn add_receipt_log(
        &mut self,
        log: &str,
        block_hash: Hash32,
        number: Option<u64>,
        transaction: Option<Hash32>,
    ) {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Placed<'a> {
            address: ContractAddress,
            topics: Vec<Hash32>,
            data: Bytes,
            #[serde(borrow)]
            log_index: Option<&'a RawValue>,
            #[serde(borrow)]
            block_number: Option<&'a RawValue>,
        }
        let Ok(log) = serde_json::from_str::<Placed<'_>>(log) else {
            return;
        };
        let topics: Vec<[u8; 32]> = log.topics.iter().map(|topic| topic.0).collect();
        let numbered = |json: Option<&RawValue>| json.and_then(|json| any_number(json.get()));
        // Whose log it is, and so whether that matters, is known at the end.
        let (Ok(Decoded::Anchor(anchored)), Some(log_index), Some(block_number)) = (
            decode(&topics, &log.data),
            numbered(log.log_index),
            number.or(numbered(log.block_number)),
        ) else {
            return;
        };
        self.in_receipts.push(Anchor {
            block_number,
            log_index,
            block_hash,
            transaction_hash: transaction.unwrap_or(Hash32::ZERO),
            block_timestamp: anchored.timestamp,
            contract: log.address,
            kind: anchored.kind,
            batch_id: anchored.batch_id,
            stream: anchored.stream,
            tenant_store_key: anchored.tenant_store_key,
            events_root: anchored.events_root,
            state_root: anchored.state_root,
            sequence_start: anchored.sequence_start,
            sequence_end: anchored.sequence_end,
            event_count: anchored.event_count,
        });
    }

    fn add_log(&mut self, log: &str) -> Result<(), String> {
        let log: LogJson<'_> = serde_json::from_str(log).map_err(|e| format!("not a log: {e}"))?;
        if !self.contracts.is_empty() && !self.contracts.contains(&log.address) {
            self.import.other_contracts += 1;
            return Ok(());
        }
        let removed = log.is_removed()?;
        let topics: Vec<[u8; 32]> = log.topics.iter().map(|topic| topic.0).collect();
        let data = log
            .data
            .strip_prefix("0x")
            .ok_or("its data does not start with 0x")?;
        let data = hex::decode(data).map_err(|e| format!("its data is not hex: {e}"))?;
        let anchored = match decode(&topics, &data) {
            Ok(Decoded::Anchor(anchored)) => *anchored,
            Ok(Decoded::Summary) => {
                self.import.summaries += 1;
                return Ok(());
            }
            Ok(Decoded::UnknownTopic) => {
                let topic = log
                    .topics
                    .first()
                    .map_or_else(|| "none".to_owned(), |t| format!("0x{t}"));
                *self.import.unknown_topics.entry(topic).or_default() += 1;
                return Ok(());
            }
            Err(why) => {
                self.note_refused(&log, removed, named(&topics, &data), &why);
                return Err(why);
            }
        };
        if removed {
            self.import.removed += 1;
            return Ok(());
        }
        // The time enters no proof, and clients write it in many ways; where it can be read it must be the event's.
        let block_timestamp = log.block_timestamp.and_then(|time| any_number(time.get()));
        if let (Some(block), Some(event)) = (block_timestamp, anchored.timestamp)
            && block != event
        {
            return Err(format!(
                "it says that its block is of {event}, the client says {block}"
            ));
        }
        let missing = |field: &str| format!("it has no {field}: it is in no block yet");
        self.anchors.push(Anchor {
            block_number: quantity(
                "blockNumber",
                &log.block_number.ok_or_else(|| missing("blockNumber"))?,
            )?,
            log_index: quantity("logIndex", &log.log_index.ok_or_else(|| missing("logIndex"))?)?,
            block_hash: log.block_hash.ok_or_else(|| missing("blockHash"))?,
            // No receipt and no storage has it: zeros where the client does not say it.
            transaction_hash: log.transaction_hash.unwrap_or(Hash32::ZERO),
            block_timestamp: block_timestamp.or(anchored.timestamp),
            contract: log.address,
            kind: anchored.kind,
            batch_id: anchored.batch_id,
            stream: anchored.stream,
            tenant_store_key: anchored.tenant_store_key,
            events_root: anchored.events_root,
            state_root: anchored.state_root,
            sequence_start: anchored.sequence_start,
            sequence_end: anchored.sequence_end,
            event_count: anchored.event_count,
        });
        Ok(())
    }

    /// Keeps the place of a log that has the topic of an anchor and cannot be one.
    fn note_refused(&mut self, log: &LogJson<'_>, removed: bool, named: Named, why: &str) {
        let number = |text: &Option<String>| text.as_deref().and_then(|text| quantity("", text).ok());
        if let (Some(block_number), Some(log_index), Some(block_hash)) =
            (number(&log.block_number), number(&log.log_index), log.block_hash)
            && !removed
        {
            let transaction_hash = log.transaction_hash.unwrap_or(Hash32::ZERO);
            let (contract, why) = (log.address, why.to_owned());
            let refused = RefusedAnchor {
                block_number,
                log_index,
                block_hash,
                transaction_hash,
                contract,
                batch_id: named.batch_id,
                tenant_store_key: named.tenant_store_key,
                why,
            };
            self.chain.refused.push(refused);
        }
    }

    /// Puts the anchors in order, drops repeated logs, names the streams of SetRegistry's anchors where they are known
    /// (from the other contract's anchors, and from `streams`), and matches what proves them.
    pub fn finish(mut self, streams: &[StreamKey]) -> Import {
        if self.contracts.is_empty() && !self.named.is_empty() {
            let named = &self.named;
            let before = self.anchors.len();
            self.anchors.retain(|anchor| named.contains(&anchor.contract));
            self.import.other_contracts += before - self.anchors.len();
        }
        let taken = self.anchors.len();
        let from_logs = AnchorsFile::new(None, std::mem::take(&mut self.anchors)).anchors;
        self.import.repeated = taken - from_logs.len();

        let known: BTreeSet<ContractAddress> = if !self.contracts.is_empty() {
            self.contracts.iter().copied().collect()
        } else if !self.named.is_empty() {
            self.named.clone()
        } else {
            from_logs.iter().map(|anchor| anchor.contract).collect()
        };
        self.chain
            .refused
            .retain(|refused| known.contains(&refused.contract));
        let counted = from_logs.len();
        let taken_receipts = self.take_receipts();
        let mut anchors = from_logs;
        let places: HashSet<(Hash32, u64)> = anchors.iter().map(|a| (a.block_hash, a.log_index)).collect();
        // Where a header binds the receipts, anchors are read from their bytes; only the transaction is not in them.
        let mut transactions: HashMap<(Hash32, u64), Hash32> = HashMap::new();
        for anchor in std::mem::take(&mut self.in_receipts) {
            let place = (anchor.block_hash, anchor.log_index);
            if !known.contains(&anchor.contract) {
                *self.import.imitators.entry(anchor.contract).or_default() += 1;
            } else if taken_receipts.proven.contains(&anchor.block_hash) {
                transactions.insert(place, anchor.transaction_hash);
            } else {
                // A log that names its transaction says all that a receipt says without it.
                let said = anchor.transaction_hash.is_zero() && places.contains(&place);
                if taken_receipts.refused.contains(&anchor.block_hash) || said {
                    continue;
                }
                anchors.push(anchor);
            }
        }
        let mut file = AnchorsFile::new(self.chain_id, anchors);
        file.resolve(streams);
        self.match_proofs(&file.anchors);
        file = file.with_chain(self.chain);
        // With those that receipts prove and whose JSON does not say enough.
        let of: Vec<ContractAddress> = known.iter().copied().collect();
        complete_of(&mut file, None, &of, &|_| true);
        for anchor in file.anchors.iter_mut().filter(|a| a.transaction_hash.is_zero()) {
            let found = transactions.get(&(anchor.block_hash, anchor.log_index));
            anchor.transaction_hash = found.copied().unwrap_or(Hash32::ZERO);
        }
        file.resolve(streams);
        self.import.from_receipts = file.anchors.len().saturating_sub(counted);
        self.import.unresolved = file.anchors.iter().filter(|a| a.stream.is_none()).count();
        self.import.headers = file.chain.headers.len();
        self.import.receipts = file.chain.receipts.len();
        self.import.proofs = file.chain.proofs.iter().map(|proofs| proofs.batches.len()).sum();
        self.import.file = file;
        self.import
    }

    /// The proofs that were taken, matched with anchors that are known already.
    pub(crate) fn finish_proofs(mut self, anchors: &[Anchor]) -> Vec<StorageProofs> {
        self.match_proofs(anchors);
        self.chain.proofs
    }

    /// Puts the receipts of each block in order. Those that do not give the block's root are refused; a copy that is
    /// wrong does not spoil one that is right.
    fn take_receipts(&mut self) -> TakenReceipts {
        let roots: HashMap<Hash32, Hash32> = self
            .blocks()
            .map(|block| (block.hash, block.receipts_root))
            .collect();
        let mut taken = TakenReceipts::default();
        for (block_hash, encoded) in std::mem::take(&mut self.receipts) {
            let mut copies: Vec<(u64, Bytes)> = encoded
                .iter()
                .map(|receipt| (receipt.index, receipt.bytes.clone()))
                .collect();
            copies.sort();
            copies.dedup();
            let count = copies.len();
            let root = roots.get(&block_hash);
            let whole = root.and_then(|root| receipt::fitting(encoded, root));
            let unused = whole.is_none();
            let why = match whole.or_else(|| whole_set(copies, root)) {
                Some(receipts) => {
                    let more = if unused { count - receipts.len() } else { 0 };
                    self.chain.receipts.push(BlockReceipts { block_hash, receipts });
                    if root.is_some() {
                        taken.proven.insert(block_hash);
                    }
                    if more == 0 {
                        continue;
                    }
                    format!(
                        "{more} receipt(s) of block {block_hash} are not those that give its receipts root, and were \
                         not used"
                    )
                }
                None => {
                    taken.refused.insert(block_hash);
                    format!(
                        "the {count} receipts of block {block_hash} do not give its receipts root: some are missing, \
                         were altered, or are of a kind that is not known"
                    )
                }
            };
            let source = self.receipt_sources.get(&block_hash).cloned().unwrap_or_default();
            self.import.refused.push(RefusedLog {
                source,
                what: "receipt",
                index: 0,
                why,
            });
        }
        taken
    }

    fn blocks(&self) -> impl Iterator<Item = header::Block> {
        self.chain
            .headers
            .iter()
            .filter_map(|entry: &HeaderBytes| header::read(&entry.rlp).ok())
    }

    /// Finds the slots of each anchor among the proofs.
    fn match_proofs(&mut self, anchors: &[Anchor]) {
        // Of blocks with one state, the first: whatever is tied to a later one is tied to it.
        let mut by_root: HashMap<Hash32, (u64, Hash32)> = HashMap::new();
        for block in self.blocks() {
            let first = by_root
                .entry(block.state_root)
                .or_insert((block.number, block.hash));
            *first = (*first).min((block.number, block.hash));
        }
        let mut groups: BTreeMap<(ContractAddress, Hash32), Vec<Group>> = BTreeMap::new();
        let mut slots = 0;
        for saved in std::mem::take(&mut self.proofs) {
            let SavedProof {
                source,
                index,
                block,
                proof,
            } = saved;
            slots += proof.storage_proof.len();
            // The first node of the account's path hashes to the state root, and so names the block.
            let root = proof.account_proof.first().map(|node| Hash32(keccak256(node).0));
            let block = block.or_else(|| by_root.get(&root?).map(|(_, hash)| *hash));
            let (Some(block), Ok(nonce)) = (block, u64::try_from(proof.nonce)) else {
                let why = "nothing says which block it is of: neither its file nor a header".into();
                self.import.refused.push(RefusedLog {
                    source,
                    what: "proof",
                    index,
                    why,
                });
                continue;
            };
            let account = AccountProof {
                nonce,
                balance: proof.balance,
                storage_root: proof.storage_hash,
                code_hash: proof.code_hash,
                path: proof.account_proof,
            };
            let of_block = groups.entry((proof.address, block)).or_default();
            let at = of_block
                .iter()
                .position(|group| group.account == account)
                .unwrap_or_else(|| {
                    of_block.push(Group {
                        account,
                        slots: HashMap::new(),
                    });
                    of_block.len() - 1
                });
            for slot in proof.storage_proof {
                let answers = of_block[at].slots.entry(slot.key).or_default();
                answers.insert((slot.value, slot.proof));
            }
        }
        let batches: BTreeSet<_> = anchors.iter().map(|a| (a.contract, a.kind, a.batch_id)).collect();
        let heads = heads_of(anchors);
        let mut used = 0;
        for ((contract, block_hash), of_block) in groups {
            for group in of_block {
                let mut pool = NodePool::default();
                let mut proved = Vec::new();
                let first = (contract, AnchorKind::StateSetAnchor, BatchId(uuid::Uuid::nil()));
                for (_, kind, batch_id) in batches.range(first..).take_while(|(c, ..)| *c == contract) {
                    let (slots, copies) = group.of_batch(*kind, batch_id, &mut pool);
                    used += slots;
                    proved.extend(copies);
                }
                let mut proved_heads = Vec::new();
                for head in heads.get(&contract).into_iter().flatten() {
                    let slot = group.of_head(&head.slot(), &mut pool);
                    used += usize::from(slot.is_some());
                    proved_heads.extend(slot.map(|slot| HeadProof { head: *head, slot }));
                }
                if !(proved.is_empty() && proved_heads.is_empty()) {
                    let (account, nodes) = (group.account, pool.nodes);
                    self.chain.proofs.push(StorageProofs {
                        block_hash,
                        contract,
                        account,
                        nodes,
                        batches: proved,
                        heads: proved_heads,
                    });
                }
            }
        }
        self.import.other_slots = slots.saturating_sub(used);
    }
}

/// The storage proofs that say the same of a contract's account at a block.
struct Group {
    account: AccountProof,
    /// Every answer for a slot, each once and in one order.
    slots: HashMap<U256, BTreeSet<(U256, Vec<Bytes>)>>,
}

impl Group {
    /// The answers for a slot, those that hold first.
    fn answers(&self, slot: &Hash32) -> Vec<(bool, &(U256, Vec<Bytes>))> {
        let answers = self.slots.get(&U256::from_be_bytes(slot.0)).into_iter().flatten();
        let holds = |(value, path): &(U256, Vec<Bytes>)| {
            let nodes: Vec<&Bytes> = path.iter().collect();
            storage::check_slot(&self.account.storage_root, slot, *value, &nodes).is_ok()
        };
        let mut answers: Vec<_> = answers.map(|answer| (holds(answer), answer)).collect();
        answers.sort_by_key(|(holds, _)| !holds);
        answers
    }

    /// The proofs of a batch, if all of its slots are there, and how many slots those are. Where there are several answers
    /// for a slot, those that hold make the first proof, and the others further ones: they are judged together.
    fn of_batch(
        &self,
        kind: AnchorKind,
        batch_id: &BatchId,
        pool: &mut NodePool,
    ) -> (usize, Vec<BatchProof>) {
        let slots = storage::slots(kind, batch_id);
        let answers: Vec<Vec<_>> = slots.iter().map(|slot| self.answers(slot)).collect();
        if answers.iter().any(Vec::is_empty) {
            return (0, Vec::new());
        }
        let copies = answers.iter().map(Vec::len).max().unwrap_or(0).min(MAX_COPIES);
        let proofs = (0..copies).map(|copy| {
            let slots = answers.iter().filter_map(|of_slot| {
                let (_, answer) = of_slot.get(copy).or_else(|| of_slot.first())?;
                Some(slot_proof(answer, pool))
            });
            BatchProof {
                batch_id: *batch_id,
                slots: slots.collect(),
            }
        });
        (answers.len(), proofs.collect())
    }

    /// The proof of one slot, if one of the answers for it holds.
    fn of_head(&self, slot: &Hash32, pool: &mut NodePool) -> Option<SlotProof> {
        let answers = self.answers(slot);
        let (_, answer) = answers.first().filter(|(holds, _)| *holds)?;
        Some(slot_proof(answer, pool))
    }
}

fn slot_proof((value, path): &(U256, Vec<Bytes>), pool: &mut NodePool) -> SlotProof {
    SlotProof {
        value: Hash32(B256::from(*value).0),
        path: path.iter().map(|node| pool.add(node.clone())).collect(),
    }
}

/// The receipts of a block, one for each place and complete, of all the copies that there are (ordered by place). Where
/// copies differ, those that give the root; `None` if none do.
fn whole_set(copies: Vec<(u64, Bytes)>, root: Option<&Hash32>) -> Option<Vec<Bytes>> {
    let mut places: Vec<Vec<Bytes>> = Vec::new();
    for (index, bytes) in copies {
        let next = places.len() as u64;
        match places.last_mut() {
            Some(of_place) if index + 1 == next => of_place.push(bytes),
            _ if index == next => places.push(vec![bytes]),
            _ => return None,
        }
    }
    let differing: Vec<usize> = (0..places.len()).filter(|at| places[*at].len() > 1).collect();
    let choices = differing
        .iter()
        .try_fold(1_usize, |all, at| all.checked_mul(places[*at].len()));
    for choice in 0..choices.map_or(MAX_CHOICES, |all| all.min(MAX_CHOICES)) {
        let mut rest = choice;
        let mut picked = vec![0; places.len()];
        for at in &differing {
            picked[*at] = rest % places[*at].len();
            rest /= places[*at].len();
        }
        let set: Vec<Bytes> = places
            .iter()
            .zip(&picked)
            .map(|(of, at)| of[*at].clone())
            .collect();
        match root {
            Some(root) if receipt::root(&set) == *root => return Some(set),
            // Nobody can say which of several is right.
            None if differing.is_empty() => return Some(set),
            _ => {}
        }
    }
    None
}

/// What the contracts of these anchors keep about all of their batches.
fn heads_of(anchors: &[Anchor]) -> BTreeMap<ContractAddress, Vec<heads::Head>> {
    let mut streams: BTreeMap<(ContractAddress, AnchorKind), BTreeSet<Hash32>> = BTreeMap::new();
    for anchor in anchors {
        let of_contract = streams.entry((anchor.contract, anchor.kind)).or_default();
        of_contract.insert(anchor.tenant_store_key);
    }
    let mut heads: BTreeMap<ContractAddress, Vec<heads::Head>> = BTreeMap::new();
    for ((contract, kind), streams) in streams {
        heads
            .entry(contract)
            .or_default()
            .extend(heads::of(kind, &streams));
    }
    heads
}

/// A number in JSON, as a number or as JSON-RPC writes it.
pub(crate) fn any_number(json: &str) -> Option<u64> {
    let number: Option<u64> = serde_json::from_str(json).ok();
    number.or_else(|| {
        let text: &str = serde_json::from_str(json).ok()?;
        quantity("", text).ok().or_else(|| text.parse().ok())
    })
}

/// A number as JSON-RPC writes it: `0x` and at most 16 hex digits.
fn quantity(field: &str, text: &str) -> Result<u64, String> {
    text.strip_prefix("0x")
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit()))
        .and_then(|digits| u64::from_str_radix(digits, 16).ok())
        .ok_or_else(|| {
            format!(
                "its {field} is not a number as JSON-RPC writes it: {:?}",
                text.chars().take(40).collect::<String>()
            )
        })
}
