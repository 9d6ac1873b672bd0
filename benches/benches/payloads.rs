//! Payload hashes from JSON text as PostgreSQL renders it, on one thread, beside `serde_json`'s `Value`,
//! `serde_json_canonicalizer` and `sha2`.

use benches::{Clock, Options, Table};
use serde_json::Value;
use sha2::{Digest, Sha256};
use ves::payload::PayloadHasher;

const COUNT: usize = 512;

/// An order of about 480 bytes.
fn order(i: usize) -> String {
    format!(
        "{{\"note\": \"Leave at the door\\nring twice\", \"total\": {}.{:02}, \"status\": \"confirmed\", \
         \"address\": {{\"zip\": \"{:05}\", \"city\": \"Zürich\", \"line1\": \"Bahnhofstrasse {}\", \
         \"country\": \"CH\"}}, \"currency\": \"CHF\", \"order_id\": \"ORD-{i:08}\", \"placed_at\": \
         \"2026-03-0{}T12:34:56.789Z\", \"customer_id\": \"5f0c2d9e-88aa-4c1b-9d3e-{i:012x}\", \
         \"line_items\": [{{\"qty\": {}, \"sku\": \"SKU-{}\", \"price\": 19.90}}, {{\"qty\": 1, \"sku\": \
         \"SKU-{}\", \"price\": 249.95, \"gift\": true}}], \"is_subscription\": false}}",
        100 + i,
        i % 100,
        8000 + i,
        i % 200,
        1 + i % 9,
        1 + i % 4,
        i * 7,
        i * 11,
    )
}

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
