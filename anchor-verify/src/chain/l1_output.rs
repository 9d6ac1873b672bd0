//! An L2 block tied to L1, where the L2 is a chain of the OP stack: by an output root that was proposed on L1.
//!
//! An output root is keccak256(version ‖ state root ‖ storage root of the message passer ‖ block hash), each 32 bytes;
//! version 0 alone is known. Whoever trusts the root, or an L1 block whose chain holds the log that proposed it, so
//! trusts the L2 block. The form of the file is described in `docs/verify.md`.

use alloy::primitives::{b256, keccak256};
use serde::Deserialize;
use serde_json::Value;
use ves::Hash32;

use super::examine::Chain;
use super::parts::ChainParts;
use super::receipt::PlacedLog;
use crate::anchor::ContractAddress;
use crate::anchors_file::AnchorsFile;
use crate::import::Importer;

/// `OutputProposed(bytes32 indexed outputRoot, uint256 indexed l2OutputIndex, uint256 indexed l2BlockNumber, uint256)`
const OUTPUT_PROPOSED: Hash32 =
    Hash32(b256!("a7aaf2512769da4e444e3de247be2564225c2e7a8f74cfe528e46e17d24868e2").0);

/// `DisputeGameCreated(address indexed disputeProxy, uint32 indexed gameType, bytes32 indexed rootClaim)`
const GAME_CREATED: Hash32 =
    Hash32(b256!("5b565efe82411da98814f356d0e7bcb8f0219b8d970307c5afb4a6903a8b2e35").0);

/// How deep the output is looked for.
const MAX_DEPTH: usize = 8;

/// What an output root is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct L1Output {
    /// The state root of the L2 block.
    pub state_root: Hash32,
    /// The storage root of the contract that passes messages to L1.
    pub message_passer_storage_root: Hash32,
    /// The L2 block.
    pub block_hash: Hash32,
}

/// How an L2 block is tied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TiedOutput {
    /// What the output is of.
    pub output: L1Output,
    /// The output root, which L1 holds.
    pub root: Hash32,
    /// The log that proposed it: the contract of L1 that wrote it, and the number of the block. `None` if the root
    /// itself is trusted.
    pub proposed: Option<(ContractAddress, u64)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
struct OutputJson {
    #[serde(default)]
    version: Option<Hash32>,
    #[serde(alias = "stateRoot")]
    state_root: Hash32,
    #[serde(alias = "withdrawalStorageRoot", alias = "messagePasserStorageRoot")]
    message_passer_storage_root: Hash32,
    #[serde(default, alias = "blockHash", alias = "latestBlockhash")]
    block_hash: Option<Hash32>,
    #[serde(default, alias = "blockRef")]
    block_ref: Option<BlockRef>,
    #[serde(default, alias = "outputRoot")]
    output_root: Option<Hash32>,
}

#[derive(Deserialize)]
struct BlockRef {
    hash: Hash32,
}

impl L1Output {
    /// The root of version 0.
    pub fn root(&self) -> Hash32 {
        let mut preimage = [0; 128];
        preimage[32..64].copy_from_slice(&self.state_root.0);
        preimage[64..96].copy_from_slice(&self.message_passer_storage_root.0);
        preimage[96..].copy_from_slice(&self.block_hash.0);
        Hash32(keccak256(preimage).0)
    }

    /// The output in a file: an object with its parts, or the answer of `optimism_outputAtBlock`, anywhere in it.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut found = Vec::new();
        for value in serde_json::Deserializer::from_slice(bytes).into_iter::<Value>() {
            let value = value.map_err(|e| format!("not JSON: {e}"))?;
            find(&value, 0, &mut found);
        }
        let [value] = &found[..] else {
            return Err(format!("it holds {} outputs, not one", found.len()));
        };
        let output: OutputJson =
            serde_json::from_value(value.clone()).map_err(|e| format!("not an output: {e}"))?;
        if output.version.is_some_and(|version| !version.is_zero()) {
            return Err("its output is of a version that is not known: 0 alone is".into());
        }
        let of_ref = output.block_ref.map(|block| block.hash);
        let block_hash = match (output.block_hash, of_ref) {
            (Some(a), Some(b)) if a != b => {
                return Err(format!("its output names two blocks, {a} and {b}"));
            }
            (a, b) => a.or(b).ok_or("its output names no block")?,
        };
        let read = Self {
            state_root: output.state_root,
            message_passer_storage_root: output.message_passer_storage_root,
            block_hash,
        };
        match output.output_root {
            Some(claimed) if claimed != read.root() => Err(format!(
                "its parts give the output root {}, not {claimed} as it says",
                read.root()
            )),
            _ => Ok(read),
        }
    }
}

fn find(value: &Value, depth: usize, found: &mut Vec<Value>) {
    if depth > MAX_DEPTH {
        return;
    }
    match value {
        Value::Array(items) => items.iter().for_each(|item| find(item, depth + 1, found)),
        Value::Object(members) => {
            let names = [
                "withdrawalStorageRoot",
                "messagePasserStorageRoot",
                "message_passer_storage_root",
            ];
            if names.iter().any(|name| members.contains_key(*name)) {
                found.push(value.clone());
            } else {
                members.values().for_each(|item| find(item, depth + 1, found));
            }
        }
        _ => {}
    }
}

/// Ties the L2 block of the output in `bytes` to the hash that the auditor trusts: an output root, or an L1 block whose
/// headers and receipts, in the same file, hold the log that proposed the root. `contract` is the one whose log counts;
/// that of any without it.
///
/// # Errors
/// Why it is not tied.
pub fn tie_output(
    bytes: &[u8],
    trusted: Hash32,
    contract: Option<ContractAddress>,
) -> Result<TiedOutput, String> {
    let output = L1Output::read(bytes)?;
    let root = output.root();
    if root == trusted {
        return Ok(TiedOutput {
            output,
            root,
            proposed: None,
        });
    }
    let mut importer = Importer::new(None, Vec::new());
    importer
        .add_json("the L1 output", bytes)
        .map_err(|e| e.to_string())?;
    let file = importer.finish(&[]).file;
    let proposed = proposed(&file, &root, trusted, contract)?;
    Ok(TiedOutput {
        output,
        root,
        proposed: Some(proposed),
    })
}

/// The log that proposed the root in a block that is tied to the trusted one.
fn proposed(
    file: &AnchorsFile,
    root: &Hash32,
    trusted: Hash32,
    contract: Option<ContractAddress>,
) -> Result<(ContractAddress, u64), String> {
    let ChainParts { receipts, .. } = &file.chain;
    let chain = Chain::new(file, Some(trusted));
    if chain.canonical().is_empty() {
        return Err(format!(
            "its output root {root} is not the trusted hash {trusted}, and no header of that hash is in it"
        ));
    }
    let mut read = 0;
    for entry in receipts {
        let Some(block) = chain.tied_block(&entry.block_hash) else {
            continue;
        };
        let Some(Ok(logs)) = chain.logs_of(&entry.block_hash) else {
            continue;
        };
        read += 1;
        let of_contract = |log: &&PlacedLog| contract.is_none_or(|contract| contract.0 == log.address);
        if let Some(log) = logs.iter().filter(of_contract).find(|log| proposes(log, root)) {
            return Ok((ContractAddress(log.address), block.number));
        }
    }
    let by = contract.map_or_else(String::new, |contract| format!(" by contract {contract}"));
    Err(format!(
        "no log that proposes the output root {root}{by} is in the {read} blocks with receipts that lead to L1 block \
         {trusted}"
    ))
}

fn proposes(log: &PlacedLog, root: &Hash32) -> bool {
    let Some(first) = log.topics.first() else {
        return false;
    };
    let place = match Hash32(*first) {
        OUTPUT_PROPOSED => 1,
        GAME_CREATED => 3,
        _ => return false,
    };
    log.success && log.topics.len() == 4 && log.topics.get(place) == Some(&root.0)
}

#[cfg(test)]
mod tests {
    use alloy::primitives::keccak256;
    use serde_json::json;

    use super::*;

    #[test]
    fn topics_are_those_of_the_events() {
        let topic = |signature: &str| Hash32(keccak256(signature).0);
        assert_eq!(
            OUTPUT_PROPOSED,
            topic("OutputProposed(bytes32,uint256,uint256,uint256)")
        );
        assert_eq!(GAME_CREATED, topic("DisputeGameCreated(address,uint32,bytes32)"));
    }

    #[test]
    fn the_root_is_over_all_parts_and_the_block_is_named_once() {
        let hash = |byte: u8| format!("0x{}", hex::encode([byte; 32]));
        let answer = json!({"result": {
            "version": hash(0),
            "stateRoot": hash(1),
            "withdrawalStorageRoot": hash(2),
            "blockRef": {"hash": hash(3), "number": 7, "parentHash": hash(4)},
        }});
        let output = L1Output::read(answer.to_string().as_bytes()).unwrap();
        assert_eq!(output.block_hash, Hash32([3; 32]));
        let preimage = [[0; 32], [1; 32], [2; 32], [3; 32]].concat();
        assert_eq!(output.root().0, keccak256(preimage).0);
        let tied = tie_output(answer.to_string().as_bytes(), output.root(), None).unwrap();
        assert_eq!(tied.proposed, None);
        // Another root, another version, two blocks, none, two outputs, another claim.
        assert!(tie_output(answer.to_string().as_bytes(), Hash32([9; 32]), None).is_err());
        let changes: [fn(&mut Value); 4] = [
            |result| result["version"] = format!("0x{}01", "00".repeat(31)).into(),
            |result| result["blockHash"] = format!("0x{}", "09".repeat(32)).into(),
            |result| result["blockRef"] = Value::Null,
            |result| result["outputRoot"] = format!("0x{}", "09".repeat(32)).into(),
        ];
        for change in changes {
            let mut altered = answer.clone();
            change(&mut altered["result"]);
            assert!(
                L1Output::read(altered.to_string().as_bytes()).is_err(),
                "{altered}"
            );
        }
        assert!(L1Output::read(json!([answer, answer]).to_string().as_bytes()).is_err());
        assert!(L1Output::read(b"{}").is_err());
    }
}
