//! The standing of each anchor.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use alloy::primitives::keccak256;
use ves::{BatchId, Hash32};

use super::header::{self, Block};
use super::parts::{BatchProof, BlockReceipts, StorageProofs};
use super::receipt::{self, PlacedLog};
use super::{storage, told};
use crate::anchor::{Anchor, AnchorKind, ContractAddress};
use crate::anchors_file::AnchorsFile;
use crate::contracts::{Decoded, decode};
use crate::pins::ChainPins;
use crate::standing::{AnchorStanding, ChainReport, ProvedBy};

/// The most storage proofs of one batch that an anchor is compared with, of those that hold. A file that grew over years
/// may have some; a hostile one could have millions.
const MAX_PROOFS: usize = 8;

/// So many copies that were not used are told one by one.
const MAX_UNUSED: usize = 3;

/// Says how sure it is that each anchor of a file is on the chain of `trusted_block`, from nothing but the file.
///
/// An anchor is [`AnchorStanding::Trusted`] if its receipt, or its storage proof, is of a block that parent hashes tie to the
/// trusted block, and nothing in the file contradicts it; [`AnchorStanding::Failed`] if anything does. All copies of one proof
/// are judged together, in whatever order they come: one that does not hold beside one that does is not used, and told.
pub fn examine(file: &AnchorsFile, trusted_block: Option<Hash32>) -> ChainReport {
    examine_pinned(file, trusted_block, &ChainPins::default())
}

/// As [`examine`], of a file to which [`ChainPins::apply`] was done: which contracts are the sequencer's is known then.
pub fn examine_pinned(file: &AnchorsFile, trusted_block: Option<Hash32>, pins: &ChainPins) -> ChainReport {
    let chain = Chain::new(file, trusted_block);
    let mut standings = Vec::with_capacity(file.anchors.len());
    let mut crowded = 0_usize;
    for anchor in &file.anchors {
        standings.push(chain.standing(anchor));
        crowded += usize::from(chain.proofs_of(anchor).more);
    }
    let mut not_checked = told::of_standings(file, &standings, trusted_block, pins);
    not_checked.extend(chain.not_used(file));
    if crowded > 0 {
        not_checked.push(format!(
            "more than {MAX_PROOFS} storage proofs of one batch: {crowded} anchors"
        ));
    }
    ChainReport {
        trusted_block,
        standings,
        not_checked,
    }
}

const NO_BLOCK: &str = "no trusted block was given";

/// A header of the file, by the hash that it has or is said to have.
#[derive(Debug, Clone, Copy)]
enum KnownHeader {
    Block(Block),
    /// What is there under that hash is something else.
    Altered,
}

/// Whether a block is on the chain of the trusted block.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Tie {
    Tied,
    /// It cannot be told.
    Unknown(String),
    /// It is not.
    Off(String),
    /// A header between it and the trusted block is not what it says.
    Broken(String),
}

/// Why going from parent to parent ended.
enum End {
    Missing(Hash32),
    Altered(Hash32),
    Numbers(Hash32),
}

/// Whether one way proves an anchor.
enum Way {
    Proves,
    /// It neither proves nor contradicts; the text says what is missing.
    Lacks(String),
    /// It contradicts the anchor.
    Fails(String),
}

/// The storage proofs of one batch, all judged together.
#[derive(Default)]
struct OfBatch {
    /// Those that hold under their block's state root; tied ones first, then the newest, each once.
    holding: Vec<StoredBatch>,
    /// Those that do not, with the number of their block where it is known.
    broken: BTreeSet<(Option<u64>, String)>,
    /// Why others say nothing.
    missing: BTreeSet<String>,
    /// There are more that hold than are looked at.
    more: bool,
}

/// What a contract's storage held of a batch at a block.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct StoredBatch {
    tie: Tie,
    newest_first: std::cmp::Reverse<u64>,
    block: Hash32,
    values: Vec<Hash32>,
}

type OfBatches = HashMap<(ContractAddress, BatchId, AnchorKind), Rc<OfBatch>>;

/// What a file's parts say about the chain of the trusted block.
pub(super) struct Chain<'a> {
    trusted: Option<Hash32>,
    trusted_number: Option<u64>,
    headers: HashMap<Hash32, KnownHeader>,
    /// The chain of the trusted block as far down as headers lead, by number.
    canonical: BTreeMap<u64, Hash32>,
    end: Option<End>,
    receipts: HashMap<Hash32, Receipts<'a>>,
    proofs: HashMap<(ContractAddress, BatchId), Vec<(usize, &'a BatchProof)>>,
    accounts: Vec<(&'a StorageProofs, OnceCell<Result<(), String>>)>,
    of_batches: RefCell<OfBatches>,
    /// Copies that were not used since others of the same are good.
    unused: RefCell<BTreeSet<String>>,
}

struct Receipts<'a> {
    candidates: Vec<&'a BlockReceipts>,
    logs: OnceCell<Result<Vec<PlacedLog>, String>>,
}

impl<'a> Chain<'a> {
    pub(super) fn new(file: &'a AnchorsFile, trusted: Option<Hash32>) -> Self {
        let mut headers: HashMap<Hash32, KnownHeader> = HashMap::new();
        for entry in &file.chain.headers {
            // The bytes are known by what they hash to, whatever they are said to be.
            let (hash, known) = match header::read(&entry.rlp) {
                Ok(block) => (block.hash, KnownHeader::Block(block)),
                Err(_) => (Hash32(keccak256(&entry.rlp).0), KnownHeader::Altered),
            };
            // A block's bytes are one thing; those that are no header are of no block, whatever is said of them.
            headers.insert(hash, known);
            if hash != entry.hash {
                headers.entry(entry.hash).or_insert(KnownHeader::Altered);
            }
        }
        let mut receipts: HashMap<Hash32, Receipts<'a>> = HashMap::new();
        for entry in &file.chain.receipts {
            let of_block = receipts.entry(entry.block_hash).or_insert_with(|| Receipts {
                candidates: Vec::new(),
                logs: OnceCell::new(),
            });
            of_block.candidates.push(entry);
        }
        let mut proofs: HashMap<_, Vec<(usize, &'a BatchProof)>> = HashMap::new();
        let mut accounts = Vec::new();
        for entry in &file.chain.proofs {
            for batch in &entry.batches {
                proofs
                    .entry((entry.contract, batch.batch_id))
                    .or_default()
                    .push((accounts.len(), batch));
            }
            accounts.push((entry, OnceCell::new()));
        }
        let mut chain = Self {
            trusted,
            trusted_number: None,
            headers,
            canonical: BTreeMap::new(),
            end: None,
            receipts,
            proofs,
            accounts,
            of_batches: RefCell::default(),
            unused: RefCell::default(),
        };
        chain.walk();
        chain
    }

    /// Follows parent hashes from the trusted block as far as they lead.
    fn walk(&mut self) {
        let Some(mut hash) = self.trusted else { return };
        let mut above: Option<u64> = None;
        self.end = loop {
            match self.headers.get(&hash) {
                None => break Some(End::Missing(hash)),
                Some(KnownHeader::Altered) => break Some(End::Altered(hash)),
                // Each step goes one number down, so that it ends.
                Some(KnownHeader::Block(block))
                    if above.is_some_and(|above| block.number.checked_add(1) != Some(above)) =>
                {
                    break Some(End::Numbers(hash));
                }
                Some(KnownHeader::Block(block)) => {
                    self.trusted_number.get_or_insert(block.number);
                    self.canonical.insert(block.number, hash);
                    above = Some(block.number);
                    if block.number == 0 {
                        break None;
                    }
                    hash = block.parent;
                }
            }
        };
    }

    /// The storage proofs of an anchor's batch, each checked once.
    fn proofs_of(&self, anchor: &Anchor) -> Rc<OfBatch> {
        let key = (anchor.contract, anchor.batch_id, anchor.kind);
        if let Some(known) = self.of_batches.borrow().get(&key) {
            return Rc::clone(known);
        }
        let mut found = OfBatch::default();
        let all = self.proofs.get(&(anchor.contract, anchor.batch_id));
        for (index, batch) in all.into_iter().flatten() {
            self.hold(*index, batch, anchor.kind, &mut found);
        }
        found.holding.sort();
        found.holding.dedup();
        found.more = found.holding.len() > MAX_PROOFS;
        found.holding.truncate(MAX_PROOFS);
        let found = Rc::new(found);
        self.of_batches.borrow_mut().insert(key, Rc::clone(&found));
        found
    }

    /// Whether one storage proof holds under its block's state root, whatever it says.
    fn hold(&self, index: usize, batch: &BatchProof, kind: AnchorKind, found: &mut OfBatch) {
        let (proofs, account) = &self.accounts[index];
        let block = match self.block(&proofs.block_hash) {
            Ok(Some(block)) => block,
            Ok(None) => {
                found.missing.insert(format!(
                    "the header of block {}, of its storage proof, is not there",
                    proofs.block_hash
                ));
                return;
            }
            Err(why) => {
                found.broken.insert((None, why));
                return;
            }
        };
        let tie = self.tie(block.number, &block.hash);
        match tie {
            Tie::Broken(why) => {
                found.broken.insert((Some(block.number), why));
                return;
            }
            // What another chain held says nothing about this one.
            Tie::Off(why) => {
                found
                    .missing
                    .insert(format!("its storage proof is of another chain: {why}"));
                return;
            }
            Tie::Tied | Tie::Unknown(_) => {}
        }
        let values = account
            .get_or_init(|| storage::check_account(&block.state_root, &proofs.contract, &proofs.account))
            .clone()
            .and_then(|()| storage::check_batch(kind, proofs, batch));
        match values {
            Ok(values) => found.holding.push(StoredBatch {
                tie,
                newest_first: std::cmp::Reverse(block.number),
                block: block.hash,
                values,
            }),
            Err(why) => {
                let why = format!("storage at block {}: {why}", block.number);
                found.broken.insert((Some(block.number), why));
            }
        }
    }

    /// Notes a copy that is left aside.
    fn leave(&self, what: impl FnOnce() -> String) {
        self.unused.borrow_mut().insert(what());
    }

    fn block(&self, hash: &Hash32) -> Result<Option<&Block>, String> {
        match self.headers.get(hash) {
            Some(KnownHeader::Block(block)) => Ok(Some(block)),
            Some(KnownHeader::Altered) => Err(format!(
                "the header of block {hash} does not hash to it: it was altered"
            )),
            None => Ok(None),
        }
    }

    fn tie(&self, number: u64, hash: &Hash32) -> Tie {
        if self.trusted.is_none() {
            return Tie::Unknown(NO_BLOCK.into());
        }
        match self.canonical.get(&number) {
            Some(there) if there == hash => return Tie::Tied,
            Some(there) => {
                return Tie::Off(format!(
                    "block {number} of the trusted chain is {there}, not {hash}: it was reorganised away, or forged"
                ));
            }
            None => {}
        }
        match (self.trusted_number, &self.end) {
            (Some(trusted), _) if number > trusted => Tie::Unknown(format!(
                "block {number} is later than the trusted block {trusted}"
            )),
            (_, Some(End::Altered(at))) => Tie::Broken(format!(
                "the way from the trusted block to block {number} goes through header {at}, which was altered"
            )),
            (_, Some(End::Numbers(at))) => Tie::Broken(format!(
                "the way from the trusted block to block {number} goes through header {at}, whose number does not follow"
            )),
            (None, _) => Tie::Unknown("the file does not have the header of the trusted block".into()),
            (Some(_), Some(End::Missing(at))) => Tie::Unknown(format!(
                "the headers between block {number} and the trusted block are not all there: {at} is missing"
            )),
            (Some(_), None) => Tie::Unknown(format!("block {number} is not on the way to the first block")),
        }
    }

    fn standing(&self, anchor: &Anchor) -> AnchorStanding {
        let mut missing = Vec::new();
        let mut by = Vec::new();
        let receipt = match self.by_receipt(anchor) {
            Ok(Ok(())) => Way::Proves,
            Ok(Err(what)) => Way::Lacks(what),
            Err(why) => Way::Fails(why),
        };
        let by_receipt = matches!(receipt, Way::Proves);
        let storage = self.by_storage(anchor, by_receipt);
        for (name, way) in [(ProvedBy::Receipt, receipt), (ProvedBy::Storage, storage)] {
            match way {
                Way::Proves => by.push(name),
                Way::Lacks(what) => missing.push(what),
                Way::Fails(why) => return AnchorStanding::Failed { why },
            }
        }
        match self.trusted {
            Some(trusted_block) if !by.is_empty() => AnchorStanding::Trusted { trusted_block, by },
            // Whatever else is missing matters to nobody then.
            None => AnchorStanding::Untied {
                why: NO_BLOCK.to_owned(),
            },
            _ => {
                missing.dedup();
                AnchorStanding::Untied {
                    why: missing.join("; "),
                }
            }
        }
    }

    /// The chain of the trusted block as far down as headers lead without a gap, by number.
    pub(super) fn canonical(&self) -> &BTreeMap<u64, Hash32> {
        &self.canonical
    }

    /// The block with this hash, if it is on the chain of the trusted block.
    pub(super) fn tied_block(&self, hash: &Hash32) -> Option<&Block> {
        let block = self.block(hash).ok().flatten()?;
        matches!(self.tie(block.number, hash), Tie::Tied).then_some(block)
    }

    /// The block with this hash, unless it is known not to be on the chain of the trusted block.
    pub(super) fn block_of_interest(&self, hash: &Hash32) -> Option<&Block> {
        let block = self.block(hash).ok().flatten()?;
        matches!(self.tie(block.number, hash), Tie::Tied | Tie::Unknown(_)).then_some(block)
    }

    /// The logs of a block by those receipts that give its receipts root; `None` if neither they nor its header are
    /// there. The error says why they cannot be told.
    pub(super) fn logs_of(&self, hash: &Hash32) -> Option<&Result<Vec<PlacedLog>, String>> {
        let block = self.block(hash).ok().flatten()?;
        let receipts = self.receipts.get(hash)?;
        Some(receipts.logs.get_or_init(|| {
            let fits = receipts
                .candidates
                .iter()
                .find(|c| receipt::root(&c.receipts) == block.receipts_root);
            let fits = fits.ok_or_else(|| {
                format!(
                    "the receipts of block {} do not give its receipts root",
                    block.number
                )
            })?;
            receipt::logs(&fits.receipts).map_err(|why| format!("block {}: {why}", block.number))
        }))
    }

    /// Whether the receipts of the anchor's block have its log. The inner error says what is missing for it.
    fn by_receipt(&self, anchor: &Anchor) -> Result<Result<(), String>, String> {
        let tie = self.tie(anchor.block_number, &anchor.block_hash);
        if let Tie::Off(why) | Tie::Broken(why) = tie {
            return Err(why);
        }
        let Some(block) = self.block(&anchor.block_hash)? else {
            return Ok(Err(format!(
                "the header of block {} is not there",
                anchor.block_number
            )));
        };
        if block.number != anchor.block_number {
            return Err(format!(
                "block {} has the number {}, not {}",
                anchor.block_hash, block.number, anchor.block_number
            ));
        }
        if anchor
            .block_timestamp
            .is_some_and(|timestamp| timestamp != block.timestamp)
        {
            return Err(format!(
                "block {} is of another time: {}",
                block.number, block.timestamp
            ));
        }
        let Some(logs) = self.logs_of(&block.hash) else {
            return Ok(Err(format!(
                "the receipts of block {} are not there",
                block.number
            )));
        };
        let logs = logs.as_ref().map_err(Clone::clone)?;
        check_log(anchor, block, logs)?;
        Ok(match tie {
            Tie::Tied => Ok(()),
            Tie::Unknown(why) | Tie::Off(why) | Tie::Broken(why) => Err(why),
        })
    }

    /// Whether the contract's storage has what the anchor says. All proofs of the batch are judged together: what holds
    /// under the trusted block decides; else what holds under any; a proof that does not hold says nothing where
    /// another does.
    fn by_storage(&self, anchor: &Anchor, by_receipt: bool) -> Way {
        let timestamp = match self.block(&anchor.block_hash) {
            Ok(Some(block)) => Some(block.timestamp),
            Ok(None) => anchor.block_timestamp,
            Err(why) => return Way::Fails(why),
        };
        let of_batch = self.proofs_of(anchor);
        let mut agree: Option<&Tie> = None;
        let mut contradicts: Option<(bool, String)> = None;
        let recent = |number: u64| number >= anchor.block_number;
        for held in of_batch.holding.iter().filter(|held| recent(held.newest_first.0)) {
            match storage::says_the_same(anchor, timestamp, &held.values) {
                // The first is tied if any is.
                Ok(()) => agree = agree.or(Some(&held.tie)),
                Err(why) => {
                    let why = format!("storage at block {}: {why}", held.newest_first.0);
                    contradicts = contradicts.or(Some((held.tie == Tie::Tied, why)));
                }
            }
        }
        let proved = agree == Some(&Tie::Tied);
        if let Some((tied, why)) = contradicts {
            if tied || !(proved || by_receipt) {
                return Way::Fails(match agree {
                    Some(_) => format!("{why}; another storage proof of the batch agrees with the anchor"),
                    None => why,
                });
            }
            self.leave(|| format!("batch {}: {why} (a block that nothing ties)", anchor.batch_id));
        }
        let broken = of_batch.broken.iter();
        for (_, why) in broken.filter(|(number, _)| number.is_none_or(recent)) {
            if agree.is_none() {
                return Way::Fails(why.clone());
            }
            self.leave(|| format!("batch {}: {why}", anchor.batch_id));
        }
        match agree {
            Some(Tie::Tied) => Way::Proves,
            Some(Tie::Unknown(why) | Tie::Off(why) | Tie::Broken(why)) => Way::Lacks(why.clone()),
            None => Way::Lacks(match of_batch.missing.first() {
                Some(why) => why.clone(),
                None => "there is no storage proof of it".to_owned(),
            }),
        }
    }

    /// Storage proofs of blocks that say nothing of the trusted chain.
    fn proofs_of_no_use(&self) -> Vec<String> {
        let mut told = Vec::new();
        let (mut strange, mut off) = (0_usize, 0_usize);
        for (proofs, _) in &self.accounts {
            match self.headers.get(&proofs.block_hash) {
                None => strange += 1,
                Some(KnownHeader::Block(block))
                    if matches!(self.tie(block.number, &block.hash), Tie::Off(_)) =>
                {
                    off += 1;
                }
                Some(_) => {}
            }
        }
        for (count, what) in [
            (strange, "of a block of which the file has no header"),
            (off, "of a block that is not on the trusted chain"),
        ] {
            if count > 0 {
                told.push(format!("{count} storage proof(s) of a contract {what}"));
            }
        }
        told
    }

    /// What of the file was left aside, and why: copies that do not hold beside good ones, and what is of no anchor.
    fn not_used(&self, file: &AnchorsFile) -> Vec<String> {
        let mut unused = self.unused.take();
        for entry in &file.chain.headers {
            let is = Hash32(keccak256(&entry.rlp).0);
            if is != entry.hash {
                unused.insert(format!("the header of block {}: it hashes to {is}", entry.hash));
            }
        }
        let mut unknown_blocks = BTreeSet::new();
        for (hash, of_block) in &self.receipts {
            let Some(KnownHeader::Block(block)) = self.headers.get(hash) else {
                unknown_blocks.insert(*hash);
                continue;
            };
            let bad = of_block
                .candidates
                .iter()
                .filter(|c| receipt::root(&c.receipts) != block.receipts_root)
                .count();
            if bad > 0 {
                let what = "set(s) of receipts that do not give its receipts root";
                unused.insert(format!("block {}: {bad} {what}", block.number));
            }
        }
        let mut told = Vec::new();
        if !unused.is_empty() {
            let more = unused.len().saturating_sub(MAX_UNUSED);
            let more = if more > 0 {
                format!("; and {more} more")
            } else {
                String::new()
            };
            let first: Vec<String> = unused.iter().take(MAX_UNUSED).cloned().collect();
            told.push(format!(
                "what does not hold in the anchors file was not used ({}): {}{more}",
                unused.len(),
                first.join("; ")
            ));
        }
        if !unknown_blocks.is_empty() {
            told.push(format!(
                "the receipts of {} block(s) of which the file has no header",
                unknown_blocks.len()
            ));
        }
        told.extend(self.proofs_of_no_use());
        let named: BTreeSet<_> = file.anchors.iter().map(|a| (a.contract, a.batch_id)).collect();
        let nameless = self.proofs.keys().filter(|key| !named.contains(key)).count();
        if nameless > 0 {
            told.push(format!(
                "the storage proofs of {nameless} batch(es) that no anchor names"
            ));
        }
        told
    }
}

/// Whether the log at the anchor's place in the block is the anchor.
fn check_log(anchor: &Anchor, block: &Block, logs: &[PlacedLog]) -> Result<(), String> {
    let place = format!("log {} of block {}", anchor.log_index, block.number);
    let log = usize::try_from(anchor.log_index)
        .ok()
        .and_then(|index| logs.get(index));
    let log = log.ok_or_else(|| format!("{place} is not there: the block has {} logs", logs.len()))?;
    if !log.success {
        return Err(format!("{place} is of a transaction that did not succeed"));
    }
    if log.address != anchor.contract.0 {
        let other = ContractAddress(log.address);
        return Err(format!(
            "{place} is of contract {other}, not of {}",
            anchor.contract
        ));
    }
    let said = match decode(&log.topics, &log.data) {
        Ok(Decoded::Anchor(said)) => said,
        Ok(Decoded::Summary | Decoded::UnknownTopic) => return Err(format!("{place} is no anchor")),
        Err(why) => return Err(format!("{place}: {why}")),
    };
    let differs = |what: &str| Err(format!("{place} says another {what}"));
    if said.kind != anchor.kind {
        return differs("kind of anchor");
    }
    if said.batch_id != anchor.batch_id {
        return differs("batch");
    }
    if said.tenant_store_key != anchor.tenant_store_key
        || said.stream.is_some_and(|s| anchor.stream != Some(s))
    {
        return differs("stream");
    }
    if said.events_root != anchor.events_root {
        return differs("events root");
    }
    if said.state_root != anchor.state_root {
        return differs("state root");
    }
    if (said.sequence_start, said.sequence_end, said.event_count)
        != (anchor.sequence_start, anchor.sequence_end, anchor.event_count)
    {
        return differs("range");
    }
    if said
        .timestamp
        .is_some_and(|timestamp| timestamp != block.timestamp)
    {
        return differs("time than its block");
    }
    Ok(())
}
