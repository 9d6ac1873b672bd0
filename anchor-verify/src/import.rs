//! Logs that any JSON-RPC client has saved, made into anchors.
//!
//! A file is what `eth_getLogs` answered: an array of logs, a whole answer (`{"result": […]}`), or an
//! array of such answers. A log that is refused is named by its file and place, and the others are read.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ves::{Hash32, StreamKey};

use crate::anchors::{
    Anchor, AnchorKind, AnchorsErrorKind, AnchorsFile, ContractAddress, MAX_FILE_BYTES, read_limited,
};
use crate::contracts::{Decoded, decode};

/// A log that cannot be an anchor of a sequencer, or no log at all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedLog {
    /// The file.
    pub source: String,
    /// Its place among the file's logs, counted from 0.
    pub index: usize,
    /// Why.
    pub why: String,
}

impl fmt::Display for RefusedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: log {}: {}", self.source, self.index, self.why)
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
}

/// Takes logs from files, one after the other.
#[derive(Debug, Default)]
pub struct Importer {
    chain_id: Option<u64>,
    contracts: Vec<ContractAddress>,
    anchors: Vec<Anchor>,
    import: Import,
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

#[derive(Deserialize)]
struct AnswerJson<'a> {
    #[serde(borrow)]
    result: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
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

    /// Takes the logs of a file.
    ///
    /// # Errors
    /// The file cannot be read, or has no logs in a form that is known. Nothing is taken from it then.
    pub fn add_file(&mut self, path: &Path) -> Result<(), AnchorsErrorKind> {
        let bytes = read_limited(path, MAX_FILE_BYTES)?.ok_or(AnchorsErrorKind::TooLarge)?;
        self.add_json(&path.display().to_string(), &bytes)
    }

    /// Takes the logs of a text. `source` names it in messages.
    ///
    /// # Errors
    /// It has no logs in a form that is known. Nothing is taken from it then.
    pub fn add_json(&mut self, source: &str, bytes: &[u8]) -> Result<(), AnchorsErrorKind> {
        let logs = logs_of(bytes).map_err(AnchorsErrorKind::NotLogs)?;
        for (index, log) in logs.into_iter().enumerate() {
            self.import.logs += 1;
            if let Err(why) = self.add_log(log) {
                self.import.refused.push(RefusedLog {
                    source: source.to_owned(),
                    index,
                    why,
                });
            }
        }
        Ok(())
    }

    fn add_log(&mut self, log: &RawValue) -> Result<(), String> {
        let log: LogJson = serde_json::from_str(log.get()).map_err(|e| format!("not a log: {e}"))?;
        if !self.contracts.is_empty() && !self.contracts.contains(&log.address) {
            self.import.other_contracts += 1;
            return Ok(());
        }
        let topics: Vec<[u8; 32]> = log.topics.iter().map(|topic| topic.0).collect();
        let data = log
            .data
            .strip_prefix("0x")
            .ok_or("its data does not start with 0x")?;
        let data = hex::decode(data).map_err(|e| format!("its data is not hex: {e}"))?;
        let anchored = match decode(&topics, &data)? {
            Decoded::Anchor(anchored) => *anchored,
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
            self.import.removed += 1;
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
        self.anchors.push(Anchor {
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
        });
        Ok(())
    }

    /// Puts the anchors in order, drops repeated logs, and names the streams of SetRegistry's anchors where they are
    /// known: from the other contract's anchors, and from `streams`.
    pub fn finish(self, streams: &[StreamKey]) -> Import {
        let Self {
            chain_id,
            anchors,
            mut import,
            ..
        } = self;
        let taken = anchors.len();
        import.file = AnchorsFile::new(chain_id, anchors);
        import.repeated = taken - import.file.anchors.len();
        import.file.resolve(streams);
        import.unresolved = import.file.anchors.iter().filter(|a| a.stream.is_none()).count();
        import
    }
}

/// The logs of an answer, of several, or bare.
fn logs_of(bytes: &[u8]) -> Result<Vec<&RawValue>, String> {
    let text = std::str::from_utf8(bytes).map_err(|e| format!("not UTF-8: {e}"))?;
    if text.trim_start().starts_with('{') {
        return unpack(text);
    }
    let items: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|e| format!("neither an array of logs nor a JSON-RPC answer: {e}"))?;
    let mut logs = Vec::new();
    for item in items {
        if is_answer(item) {
            logs.extend(unpack(item.get())?);
        } else {
            logs.push(item);
        }
    }
    Ok(logs)
}

/// An answer is told from a log by what it has. Whatever is neither is refused as a log.
fn is_answer(json: &RawValue) -> bool {
    serde_json::from_str::<AnswerJson<'_>>(json.get()).is_ok_and(|a| a.result.is_some() || a.error.is_some())
}

fn unpack(json: &str) -> Result<Vec<&RawValue>, String> {
    let answer: AnswerJson<'_> =
        serde_json::from_str(json).map_err(|e| format!("not a JSON-RPC answer with logs: {e}"))?;
    if let Some(error) = answer.error.filter(|e| e.get() != "null") {
        return Err(format!(
            "the node answered with an error: {}",
            error.get().chars().take(200).collect::<String>()
        ));
    }
    answer
        .result
        .ok_or_else(|| "a JSON-RPC answer without a result".into())
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
