//! What any JSON-RPC client has saved, made into an anchors file: logs into anchors, and headers, receipts and storage
//! proofs into what proves them.
//!
//! Each thing is told by what it has, not by its file's name or place: a file is one of them, an answer
//! (`{"result": …}`), an array or an object of such. What is refused is named by its file and place, and the rest is
//! read. Proofs are matched with anchors by the slots that contract and batch give.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::path::Path;

use alloy::primitives::{B256, Bytes, U256, keccak256};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ves::{Hash32, StreamKey};

use crate::anchors::{
    Anchor, AnchorKind, AnchorsErrorKind, AnchorsFile, ContractAddress, MAX_FILE_BYTES, read_limited,
};
use crate::chain::parts::{
    AccountProof, BatchProof, BlockReceipts, ChainParts, Checkpoint, HeaderBytes, NodePool, RefusedAnchor,
    SlotProof, StorageProofs,
};
use crate::chain::{header, receipt, storage};
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
    receipts: BTreeMap<Hash32, Vec<(u64, Bytes)>>,
    receipt_sources: BTreeMap<Hash32, String>,
    proofs: Vec<SavedProof>,
    import: Import,
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
    error: Option<&'a RawValue>,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogJson {
    address: ContractAddress,
    topics: Vec<Hash32>,
    data: String,
    block_number: Option<String>,
    block_hash: Option<Hash32>,
    block_timestamp: Option<String>,
    transaction_hash: Option<Hash32>,
    log_index: Option<String>,
    #[serde(default)]
    removed: bool,
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
        let text =
            std::str::from_utf8(bytes).map_err(|e| AnchorsErrorKind::NotLogs(format!("not UTF-8: {e}")))?;
        let json: &RawValue = serde_json::from_str(text)
            .map_err(|e| AnchorsErrorKind::NotLogs(format!("neither logs nor a JSON-RPC answer: {e}")))?;
        // An answer with an error makes the whole unreadable, so it is looked for before anything is taken.
        find_errors(json, 0).map_err(AnchorsErrorKind::NotLogs)?;
        let mut place = Place {
            source,
            next: 0,
            found: false,
            listed: false,
        };
        self.walk(json, None, 0, &mut place)?;
        let empty =
            text.trim_start().starts_with('[') && text.trim_end().trim_start_matches(['[', ' ', '\n']) == "]";
        if place.found || empty {
            return Ok(());
        }
        Err(AnchorsErrorKind::NotLogs(
            "there are neither logs, headers, receipts nor proofs in it".into(),
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
            let log = self.add_log(text, false);
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
        #[derive(Deserialize)]
        struct Logs<'a> {
            #[serde(borrow)]
            logs: Vec<&'a RawValue>,
        }
        let encoded = receipt::from_json(json)?;
        self.receipts
            .entry(encoded.block_hash)
            .or_default()
            .push((encoded.index, encoded.bytes));
        self.receipt_sources
            .entry(encoded.block_hash)
            .or_insert_with(|| place.source.to_owned());
        let logs: Logs<'_> = serde_json::from_str(json).map_err(|e| format!("not a receipt: {e}"))?;
        for log in logs.logs {
            self.add_log(log.get(), true)?;
        }
        Ok(())
    }

    /// Takes a log. Those in receipts are looked at to find what the logs lack, and counted nowhere.
    fn add_log(&mut self, log: &str, in_receipt: bool) -> Result<(), String> {
        let log: LogJson = serde_json::from_str(log).map_err(|e| format!("not a log: {e}"))?;
        if !in_receipt && !self.contracts.is_empty() && !self.contracts.contains(&log.address) {
            self.import.other_contracts += 1;
            return Ok(());
        }
        let topics: Vec<[u8; 32]> = log.topics.iter().map(|topic| topic.0).collect();
        let data = log
            .data
            .strip_prefix("0x")
            .ok_or("its data does not start with 0x")?;
        let data = hex::decode(data).map_err(|e| format!("its data is not hex: {e}"))?;
        let decoded = match decode(&topics, &data) {
            // Whose log it is, and so whether that matters, is known at the end.
            Err(_) if in_receipt => return Ok(()),
            Err(why) => {
                self.note_refused(&log, &named(&topics, &data), &why);
                return Err(why);
            }
            Ok(decoded) => decoded,
        };
        let anchored = match decoded {
            Decoded::Anchor(anchored) => *anchored,
            Decoded::Summary | Decoded::UnknownTopic if in_receipt => return Ok(()),
            Decoded::Summary => {
                self.import.summaries += 1;
                return Ok(());
            }
            Decoded::UnknownTopic => {
                let topic = log
                    .topics
                    .first()
                    .map_or_else(|| "none".to_owned(), |t| format!("0x{t}"));
                *self.import.unknown_topics.entry(topic).or_default() += 1;
                return Ok(());
            }
        };
        if log.removed {
            self.import.removed += usize::from(!in_receipt);
            return Ok(());
        }
        let block_timestamp = log
            .block_timestamp
            .map(|t| quantity("blockTimestamp", &t))
            .transpose()?;
        if let (Some(block), Some(event)) = (block_timestamp, anchored.timestamp)
            && block != event
        {
            return Err(format!(
                "it says that its block is of {event}, the client says {block}"
            ));
        }
        let missing = |field: &str| format!("it has no {field}: it is in no block yet");
        let anchor = Anchor {
            block_number: quantity(
                "blockNumber",
                &log.block_number.ok_or_else(|| missing("blockNumber"))?,
            )?,
            log_index: quantity("logIndex", &log.log_index.ok_or_else(|| missing("logIndex"))?)?,
            block_hash: log.block_hash.ok_or_else(|| missing("blockHash"))?,
            transaction_hash: log.transaction_hash.ok_or_else(|| missing("transactionHash"))?,
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
        };
        if in_receipt {
            self.in_receipts.push(anchor);
        } else {
            self.anchors.push(anchor);
        }
        Ok(())
    }

    /// Keeps the place of a log that has the topic of an anchor and cannot be one.
    fn note_refused(&mut self, log: &LogJson, named: &Named, why: &str) {
        let number = |text: &Option<String>| text.as_deref().and_then(|text| quantity("", text).ok());
        if let (Some(block_number), Some(log_index), Some(block_hash), Some(transaction_hash)) = (
            number(&log.block_number),
            number(&log.log_index),
            log.block_hash,
            log.transaction_hash,
        ) && !log.removed
        {
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
        let mut anchors = from_logs;
        for anchor in std::mem::take(&mut self.in_receipts) {
            if known.contains(&anchor.contract) {
                anchors.push(anchor);
            } else {
                *self.import.imitators.entry(anchor.contract).or_default() += 1;
            }
        }
        let mut file = AnchorsFile::new(self.chain_id, anchors);
        self.import.from_receipts = file.anchors.len().saturating_sub(counted);
        file.resolve(streams);
        self.import.unresolved = file.anchors.iter().filter(|a| a.stream.is_none()).count();

        self.take_receipts();
        self.match_proofs(&file.anchors);
        file = file.with_chain(self.chain);
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
    fn take_receipts(&mut self) {
        let roots: HashMap<Hash32, Hash32> = self
            .blocks()
            .map(|block| (block.hash, block.receipts_root))
            .collect();
        for (block_hash, mut receipts) in std::mem::take(&mut self.receipts) {
            receipts.sort();
            receipts.dedup();
            let copies = receipts.len();
            let why = match whole_set(receipts, roots.get(&block_hash)) {
                Some(receipts) => {
                    let more = copies - receipts.len();
                    self.chain.receipts.push(BlockReceipts { block_hash, receipts });
                    if more == 0 {
                        continue;
                    }
                    format!(
                        "{more} receipt(s) of block {block_hash} are not those that give its receipts root, and were \
                         not used"
                    )
                }
                None => format!(
                    "the {copies} receipts of block {block_hash} do not give its receipts root: some are missing, \
                     were altered, or are of a kind that is not known"
                ),
            };
            let source = self.receipt_sources.get(&block_hash).cloned().unwrap_or_default();
            self.import.refused.push(RefusedLog {
                source,
                what: "receipt",
                index: 0,
                why,
            });
        }
    }

    fn blocks(&self) -> impl Iterator<Item = header::Block> {
        self.chain
            .headers
            .iter()
            .filter_map(|entry: &HeaderBytes| header::read(&entry.rlp).ok())
    }

    /// Finds the slots of each anchor among the proofs.
    fn match_proofs(&mut self, anchors: &[Anchor]) {
        struct Group {
            account: AccountProof,
            /// Every answer for a slot, each once and in one order.
            slots: HashMap<U256, BTreeSet<(U256, Vec<Bytes>)>>,
        }
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
        let mut used = 0;
        for ((contract, block_hash), of_block) in groups {
            for group in of_block {
                let mut pool = NodePool::default();
                let mut proved = Vec::new();
                let first = (
                    contract,
                    AnchorKind::StateSetAnchor,
                    ves::BatchId(uuid::Uuid::nil()),
                );
                for (_, kind, batch_id) in batches.range(first..).take_while(|(c, ..)| *c == contract) {
                    let answers: Vec<Vec<_>> = storage::slots(*kind, batch_id)
                        .iter()
                        .map(|slot| {
                            let key = U256::from_be_bytes(slot.0);
                            let answers = group.slots.get(&key).into_iter().flatten();
                            let mut answers: Vec<_> = answers.collect();
                            // Those that hold first: what does not is kept beside them, and judged with them.
                            answers.sort_by_cached_key(|(value, path)| {
                                let nodes: Vec<&Bytes> = path.iter().collect();
                                storage::check_slot(&group.account.storage_root, slot, *value, &nodes)
                                    .is_err()
                            });
                            answers
                        })
                        .collect();
                    if answers.iter().any(Vec::is_empty) {
                        continue;
                    }
                    used += answers.len();
                    let copies = answers.iter().map(Vec::len).max().unwrap_or(0).min(MAX_COPIES);
                    for copy in 0..copies {
                        let slots = answers.iter().filter_map(|of_slot| {
                            let (value, path) = of_slot.get(copy).or_else(|| of_slot.first())?;
                            Some(SlotProof {
                                value: Hash32(B256::from(*value).0),
                                path: path.iter().map(|node| pool.add(node.clone())).collect(),
                            })
                        });
                        proved.push(BatchProof {
                            batch_id: *batch_id,
                            slots: slots.collect(),
                        });
                    }
                }
                if !proved.is_empty() {
                    let (account, nodes) = (group.account, pool.nodes);
                    self.chain.proofs.push(StorageProofs {
                        block_hash,
                        contract,
                        account,
                        nodes,
                        batches: proved,
                    });
                }
            }
        }
        self.import.other_slots = slots.saturating_sub(used);
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

/// What an answer that is an error says. What such an answer lacks is unknown, so nothing of its file is taken.
fn find_errors(json: &RawValue, depth: usize) -> Result<(), String> {
    let text = json.get();
    if depth > 2 {
        return Ok(());
    }
    if text.starts_with('[') {
        let items: Vec<&RawValue> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        return items
            .into_iter()
            .try_for_each(|item| find_errors(item, depth + 1));
    }
    if !text.starts_with('{') {
        return if depth == 0 {
            Err("neither logs nor a JSON-RPC answer".into())
        } else {
            Ok(())
        };
    }
    let shape: Shape<'_> = serde_json::from_str(text).map_err(|e| format!("not a JSON-RPC answer: {e}"))?;
    match shape.error.filter(|e| e.get() != "null") {
        Some(error) => Err(format!(
            "the node answered with an error: {}",
            error.get().chars().take(200).collect::<String>()
        )),
        None => Ok(()),
    }
}

/// A number in JSON, as a number or as JSON-RPC writes it.
pub(crate) fn any_number(json: &str) -> Option<u64> {
    serde_json::from_str(json)
        .ok()
        .or_else(|| quantity("", serde_json::from_str(json).ok()?).ok())
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

/// What an import took of one contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContractSummary {
    /// The contract.
    pub contract: ContractAddress,
    /// Which of the two it is.
    pub kind: AnchorKind,
    /// Its anchors.
    pub anchors: usize,
    /// The streams that they are of.
    pub streams: Vec<StreamSummary>,
}

/// What an import took of one stream of one contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamSummary {
    /// The stream, if it is known.
    pub stream: Option<StreamKey>,
    /// What SetRegistry calls it.
    pub tenant_store_key: Hash32,
    /// Its anchors.
    pub anchors: usize,
    /// The numbers that they cover, as ranges that neither touch nor overlap.
    pub ranges: Vec<(u64, u64)>,
}

/// What there is of each contract and stream.
pub fn summarize(anchors: &[Anchor]) -> Vec<ContractSummary> {
    let mut contracts: BTreeMap<(ContractAddress, AnchorKind), BTreeMap<Hash32, Vec<&Anchor>>> =
        BTreeMap::new();
    for anchor in anchors {
        let streams = contracts.entry((anchor.contract, anchor.kind)).or_default();
        streams.entry(anchor.tenant_store_key).or_default().push(anchor);
    }
    contracts
        .into_iter()
        .map(|((contract, kind), streams)| ContractSummary {
            contract,
            kind,
            anchors: streams.values().map(Vec::len).sum(),
            streams: streams
                .into_iter()
                .map(|(key, anchors)| summarize_stream(key, &anchors))
                .collect(),
        })
        .collect()
}

fn summarize_stream(tenant_store_key: Hash32, anchors: &[&Anchor]) -> StreamSummary {
    let mut covered: Vec<(u64, u64)> = anchors
        .iter()
        .map(|a| (a.sequence_start, a.sequence_end))
        .collect();
    covered.sort_unstable();
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for (start, end) in covered {
        match ranges.last_mut() {
            Some(last) if start <= last.1.saturating_add(1) => last.1 = last.1.max(end),
            _ => ranges.push((start, end)),
        }
    }
    let stream = anchors.iter().find_map(|anchor| anchor.stream);
    StreamSummary {
        stream,
        tenant_store_key,
        anchors: anchors.len(),
        ranges,
    }
}
