//! A real EVM node with the contracts on it, for the tests that share it.

use std::path::Path;
use std::time::Duration;

use alloy::primitives::{Address, B256};
use alloy::sol_types::{SolCall, SolValue};
use anchor_verify::chain::examine;
use anchor_verify::fetch::rpc::Rpc;
use anchor_verify::fetch::{FetchError, FetchOptions, FetchTarget, Fetched, Proofs, fetch};
use anchor_verify::{AnchorStanding, AnchorsFile, ProvedBy};
use cli_common::{Cancel, NoProgress};
use fixtures::{Commitment, World, WorldSpec};
use serde_json::{Value, json};
use test_support::{Anvil, compile_contracts, evm_available};
use ves::Hash32;

pub mod abi {
    alloy::sol! {
        function anchor(bytes32 batchId, bytes32 tenantId, bytes32 storeId, bytes32 eventsRoot, bytes32 stateRoot, uint64 sequenceStart, uint64 sequenceEnd, uint32 eventCount);
        function commitBatch(bytes32 batchId, bytes32 tenantId, bytes32 storeId, bytes32 eventsRoot, bytes32 prevStateRoot, bytes32 newStateRoot, uint64 sequenceStart, uint64 sequenceEnd, uint32 eventCount);
        function emitLog(bytes32 topic0, bytes32 topic1, bytes32 topic2, bytes data);
    }
}

/// A node with the contracts on it.
pub struct Chain {
    pub node: Anvil,
    pub anchor: String,
    pub registry: String,
    pub emitter: String,
    pub code: Value,
}

impl Chain {
    pub fn start(arguments: &[&str]) -> Option<Self> {
        if !evm_available() {
            return None;
        }
        let code = compile_contracts(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contracts"));
        let node = Anvil::start_with(arguments);
        let anchor = node.deploy(code["StateSetAnchor"].as_str().unwrap());
        let implementation: Address = node
            .deploy(code["SetRegistry"].as_str().unwrap())
            .parse()
            .unwrap();
        let argument = hex::encode(implementation.abi_encode());
        let registry = node.deploy(&format!("{}{argument}", code["Proxy"].as_str().unwrap()));
        let emitter = node.deploy(code["Emitter"].as_str().unwrap());
        Some(Self {
            node,
            anchor,
            registry,
            emitter,
            code,
        })
    }

    pub fn anchor(&self, to: &str, commitment: &Commitment) -> Value {
        let call = abi::anchorCall {
            batchId: word(commitment.batch_id.as_bytes()),
            tenantId: word(commitment.stream.tenant_id.as_bytes()),
            storeId: word(commitment.stream.store_id.as_bytes()),
            eventsRoot: commitment.merkle_root.0.into(),
            stateRoot: commitment.new_state_root.0.into(),
            sequenceStart: commitment.sequence_start,
            sequenceEnd: commitment.sequence_end,
            eventCount: commitment.leaf_count(),
        };
        self.node
            .send(Some(to), &hex::encode_prefixed(&call.abi_encode()))
    }

    pub fn commit(&self, commitment: &Commitment) -> Value {
        let call = abi::commitBatchCall {
            batchId: word(commitment.batch_id.as_bytes()),
            tenantId: word(commitment.stream.tenant_id.as_bytes()),
            storeId: word(commitment.stream.store_id.as_bytes()),
            eventsRoot: commitment.merkle_root.0.into(),
            prevStateRoot: commitment.prev_state_root.0.into(),
            newStateRoot: commitment.new_state_root.0.into(),
            sequenceStart: commitment.sequence_start,
            sequenceEnd: commitment.sequence_end,
            eventCount: commitment.leaf_count(),
        };
        self.node
            .send(Some(&self.registry), &hex::encode_prefixed(&call.abi_encode()))
    }

    /// Anchors in both contracts.
    pub fn both(&self, commitments: &[&Commitment]) {
        for commitment in commitments {
            assert_eq!(self.anchor(&self.anchor, commitment)["status"], "0x1");
            assert_eq!(self.commit(commitment)["status"], "0x1");
        }
    }

    pub fn options(&self) -> FetchOptions {
        FetchOptions {
            contracts: [&self.anchor, &self.registry]
                .map(|address| address.parse().unwrap())
                .to_vec(),
            from: None,
            to: FetchTarget::Latest,
            proofs: Proofs::Both,
            max_headers: 10_000,
            max_receipts: 1_000,
            streams: Vec::new(),
            chunk: None,
            rescan: false,
        }
    }

    pub fn fetch(&self, options: &FetchOptions, file: Option<AnchorsFile>) -> Fetched {
        fetch_from(&self.node.url(), options, file).unwrap()
    }

    /// The newest block's hash, as somebody who trusts this node learns it.
    pub fn head(&self) -> Hash32 {
        let block = self.node.rpc("eth_getBlockByNumber", &json!(["latest", false]));
        block["hash"].as_str().unwrap().parse().unwrap()
    }
}

pub mod hex {
    pub use ::hex::encode;

    pub fn encode_prefixed(bytes: &[u8]) -> String {
        format!("0x{}", encode(bytes))
    }
}

pub fn word(id: &[u8; 16]) -> B256 {
    let mut word = [0; 32];
    word[..16].copy_from_slice(id);
    word.into()
}

pub fn fetch_from(
    url: &str,
    options: &FetchOptions,
    file: Option<AnchorsFile>,
) -> Result<Fetched, FetchError> {
    let rpc = Rpc::new(url, Cancel::new())
        .unwrap()
        .with_first_wait(Duration::from_millis(10));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(fetch(&rpc, &[], options, file, &NoProgress))
}

pub fn world() -> World {
    World::generate(&WorldSpec {
        events_per_stream: 48,
        ..WorldSpec::honest(3)
    })
}

pub fn commitments(world: &World) -> Vec<&Commitment> {
    world.anchors().iter().map(|anchor| &anchor.commitment).collect()
}

#[track_caller]
pub fn assert_trusted(file: &AnchorsFile, trusted: Hash32, by: &[&str]) {
    let words = |ways: &[ProvedBy]| ways.iter().map(|way| way.as_str()).eq(by.iter().copied());
    for (anchor, standing) in file.anchors.iter().zip(examine(file, Some(trusted)).standings) {
        assert!(
            matches!(&standing, AnchorStanding::Trusted { by: ways, .. } if words(ways)),
            "{anchor:?} {standing:?}"
        );
    }
}

pub fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = assert_cmd::Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        test_support::without_time(text(output.stderr)),
    )
}
