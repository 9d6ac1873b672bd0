//! Payload hashes from JSON text as PostgreSQL renders it, on one thread, beside `serde_json`'s `Value`,
//! `serde_json_canonicalizer` and `sha2`.

use benches::{Clock, Options, Table, order};
use serde_json::Value;
use sha2::{Digest, Sha256};
use ves::payload::PayloadHasher;

const COUNT: usize = 512;

fn main() {
    let options = Options::from_args();
    let payloads: Vec<String> = (0..COUNT).map(order).collect();
    let bytes: usize = payloads.iter().map(String::len).sum();
    let mut table = Table::new(
        &options,
        Clock::Thread,
        "`serde_json` + `serde_json_canonicalizer` + `sha2`",
        "payload",
    );
    let mut hasher = PayloadHasher::default();
    table.compare(
        &format!("payload hash, {} bytes of JSON", bytes / COUNT),
        COUNT,
        Some(5.0),
        || {
            let hash = |payload: &String| {
                let value: Value = serde_json::from_str(payload).expect("JSON");
                let canonical = serde_json_canonicalizer::to_vec(&value).expect("finite numbers");
                Sha256::new_with_prefix(b"VES_PAYLOAD_PLAIN_V1")
                    .chain_update(canonical)
                    .finalize()
                    .into()
            };
            payloads.iter().map(hash).collect::<Vec<[u8; 32]>>()
        },
        || {
            for payload in &payloads {
                hasher.push(payload).expect("JSON");
            }
            hasher.hash().iter().map(|hash| hash.0).collect()
        },
    );
}
