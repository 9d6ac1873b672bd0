//! What any JSON-RPC client has saved, made into an anchors file: logs into anchors, and headers, receipts and storage
//! proofs into what proves them.
//!
//! Each thing is told by what it has, not by its file's name or place: a file is one of them, an answer
//! (`{"result": …}`), an array or an object of such. What is refused is named by its file and place, and the rest is
//! read. Proofs are matched with anchors by the slots that contract and batch give.

mod own;
mod proofs;
mod receipts;
mod saved;
mod summary;

pub use own::own_document;
pub use summary::{ContractSummary, ImportedStream, summarize};

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use alloy::primitives::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ves::{Hash32, StreamKey};

use crate::anchor::{Anchor, ContractAddress};
use crate::anchors_file::{AnchorsErrorKind, AnchorsFile, MAX_FILE_BYTES, read_limited};
use crate::chain::HeaderBytes;
use crate::chain::completeness::complete_of;
use crate::chain::parts::{ChainParts, Checkpoint, RefusedAnchor, StorageProofs};
use crate::chain::receipt::Encoded;
use crate::chain::{header, receipt};
use crate::contracts::{AnchoredLog, Decoded, NamedStream, decode, named};
use proofs::SavedProof;

/// What clients save.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Saved {
    /// A log of a contract.
    Log,
    /// A block's header.
    Header,
    /// A transaction's receipt.
    Receipt,
    /// A storage proof.
    Proof,
}

impl fmt::Display for Saved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log",
            Self::Header => "header",
            Self::Receipt => "receipt",
            Self::Proof => "proof",
        })
    }
}

/// A log that cannot be an anchor of a sequencer, or a header, receipt or proof that is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedLog {
    /// The file that it was in, as it was named.
    pub source: String,
    /// What it is.
    pub what: Saved,
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

fn not_logs(error: &serde_json::Error) -> AnchorsErrorKind {
    AnchorsErrorKind::NotLogs(error.to_string())
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

/// How deep things may be nested in a file.
const MAX_DEPTH: usize = 8;

/// Where in a file the reader is.
struct ReadPlace<'a> {
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

/// Where a log stands on the chain.
struct Mined {
    contract: ContractAddress,
    block_number: u64,
    block_hash: Hash32,
    log_index: u64,
    transaction_hash: Option<Hash32>,
    block_timestamp: Option<u64>,
}

impl Mined {
    /// The anchor that the log there is.
    fn anchor(self, anchored: &AnchoredLog) -> Anchor {
        Anchor {
            block_number: self.block_number,
            log_index: self.log_index,
            block_hash: self.block_hash,
            // No receipt and no storage has it: zeros where the client does not say it.
            transaction_hash: self.transaction_hash.unwrap_or(Hash32::ZERO),
            block_timestamp: self.block_timestamp,
            contract: self.contract,
            kind: anchored.kind,
            batch_id: anchored.batch_id,
            stream: anchored.stream,
            tenant_store_key: anchored.tenant_store_key,
            events_root: anchored.events_root,
            state_root: anchored.state_root,
            sequence_start: anchored.sequence_start,
            sequence_end: anchored.sequence_end,
            event_count: anchored.event_count,
        }
    }
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
        if let Some(schema) = own_document(bytes) {
            return Err(AnchorsErrorKind::Own(schema));
        }
        let text = std::str::from_utf8(bytes).map_err(|e| bad(format!("not UTF-8: {e}")))?;
        let values = saved::values(text).map_err(bad)?;
        // What an answer with an error lacks is unknown, so errors are looked for before anything is taken.
        let errors = saved::errors(&values);
        if !errors.is_empty() {
            return Err(bad(saved::name_errors(&errors)));
        }
        let mut place = ReadPlace {
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

    fn refuse(&mut self, place: &mut ReadPlace<'_>, what: Saved, result: Result<(), String>) {
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

    /// Takes what is in a value, however it is nested. `block` is the one that an answer around it names.
    fn walk(
        &mut self,
        json: &RawValue,
        block: Option<Hash32>,
        depth: usize,
        place: &mut ReadPlace<'_>,
    ) -> Result<(), AnchorsErrorKind> {
        let text = json.get();
        if depth > MAX_DEPTH {
            return Err(AnchorsErrorKind::NotLogs("it is nested too deep".into()));
        }
        match text.as_bytes().first() {
            Some(b'[') => self.walk_list(text, block, depth, place),
            Some(b'{') => self.walk_object(text, block, depth, place),
            _ => Ok(()),
        }
    }

    fn walk_list(
        &mut self,
        text: &str,
        block: Option<Hash32>,
        depth: usize,
        place: &mut ReadPlace<'_>,
    ) -> Result<(), AnchorsErrorKind> {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| not_logs(&e))?;
        for item in items {
            if item.get().starts_with(['[', '{']) {
                place.listed = true;
                self.walk(item, block, depth + 1, place)?;
            } else {
                self.import.logs += 1;
                self.refuse(place, Saved::Log, Err("not a log".into()));
            }
        }
        Ok(())
    }

    /// Tells what an object is by its members.
    fn walk_object(
        &mut self,
        text: &str,
        block: Option<Hash32>,
        depth: usize,
        place: &mut ReadPlace<'_>,
    ) -> Result<(), AnchorsErrorKind> {
        let shape: Shape<'_> = serde_json::from_str(text).map_err(|e| not_logs(&e))?;
        if let Some(result) = shape.result {
            place.listed = false;
            place.found |= result.get().trim_start_matches(['[', ' ', '\n']) == "]";
            return self.walk(result, block, depth + 1, place);
        }
        if shape.parent_hash.is_some() {
            let header = header::from_json(text).map(|header| self.chain.headers.push(header));
            self.refuse(place, Saved::Header, header);
        } else if shape.cumulative_gas_used.is_some() {
            let result = self.add_receipt(text, place);
            self.refuse(place, Saved::Receipt, result);
        } else if shape.account_proof.is_some() {
            let proof = self.add_proof(text, block, place);
            self.refuse(place, Saved::Proof, proof);
        } else if shape.topics.is_some() {
            self.import.logs += 1;
            let log = self.add_log(text);
            self.refuse(place, Saved::Log, log);
        } else if let (Some(hash), Some(number)) = (shape.hash, shape.number) {
            place.found = true;
            self.add_head(hash, number, shape.chain_id)?;
        } else if shape.chain_id.is_some() {
            place.found = true;
            self.add_chain_id(shape.chain_id)?;
            self.add_contracts([shape.state_set_anchor, shape.set_registry])?;
        } else {
            let of_block = shape
                .block_hash
                .and_then(|hash| serde_json::from_str(hash.get()).ok());
            return self.walk_members(text, of_block.or(block), depth, place);
        }
        Ok(())
    }

    /// Takes what is in the members of an object: by number, say, or with other things beside.
    fn walk_members(
        &mut self,
        text: &str,
        block: Option<Hash32>,
        depth: usize,
        place: &mut ReadPlace<'_>,
    ) -> Result<(), AnchorsErrorKind> {
        let items: HashMap<String, &RawValue> = serde_json::from_str(text).map_err(|e| not_logs(&e))?;
        let mut inner: Vec<(String, &RawValue)> = items
            .into_iter()
            .filter(|(_, item)| item.get().starts_with(['[', '{']))
            .collect();
        if inner.is_empty() && place.listed {
            self.import.logs += 1;
            self.refuse(
                place,
                Saved::Log,
                Err("neither log, header, receipt nor proof".into()),
            );
        }
        inner.sort_by(|a, b| a.0.cmp(&b.0));
        for (_, item) in inner {
            // Lists of names stand beside proofs; they are none of ours.
            let plain = item.get().starts_with('[')
                && serde_json::from_str::<Vec<&str>>(item.get()).is_ok_and(|names| !names.is_empty());
            if !plain {
                self.walk(item, block, depth + 1, place)?;
            }
        }
        Ok(())
    }

    fn add_proof(&mut self, text: &str, block: Option<Hash32>, place: &ReadPlace<'_>) -> Result<(), String> {
        let proof = serde_json::from_str(text).map_err(|e| format!("not a proof: {e}"))?;
        self.proofs.push(SavedProof {
            source: place.source.to_owned(),
            index: place.next,
            block,
            proof,
        });
        Ok(())
    }

    /// The contracts that a file names.
    fn add_contracts(&mut self, contracts: [Option<&RawValue>; 2]) -> Result<(), AnchorsErrorKind> {
        #[derive(Deserialize)]
        struct Named {
            address: ContractAddress,
        }
        for contract in contracts.into_iter().flatten() {
            let named: Named = serde_json::from_str(contract.get())
                .map_err(|e| AnchorsErrorKind::NotLogs(format!("a contract without address: {e}")))?;
            self.named.insert(named.address);
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

    fn add_receipt(&mut self, json: &str, place: &ReadPlace<'_>) -> Result<(), String> {
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
        let mined = Mined {
            contract: log.address,
            block_number,
            block_hash,
            log_index,
            transaction_hash: transaction,
            block_timestamp: anchored.timestamp,
        };
        self.in_receipts.push(mined.anchor(&anchored));
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
        let mined = Mined {
            contract: log.address,
            block_number: quantity(
                "blockNumber",
                &log.block_number.ok_or_else(|| missing("blockNumber"))?,
            )?,
            log_index: quantity("logIndex", &log.log_index.ok_or_else(|| missing("logIndex"))?)?,
            block_hash: log.block_hash.ok_or_else(|| missing("blockHash"))?,
            transaction_hash: log.transaction_hash,
            block_timestamp: block_timestamp.or(anchored.timestamp),
        };
        self.anchors.push(mined.anchor(&anchored));
        Ok(())
    }

    /// Keeps the place of a log that has the topic of an anchor and cannot be one.
    fn note_refused(&mut self, log: &LogJson<'_>, removed: bool, named: NamedStream, why: &str) {
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

    fn blocks(&self) -> impl Iterator<Item = header::Block> {
        self.chain
            .headers
            .iter()
            .filter_map(|entry: &HeaderBytes| header::read(&entry.rlp).ok())
    }
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
