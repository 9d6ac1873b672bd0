//! `ves_verify(public_key, event_signing_hash, agent_signature)`: whether an Ed25519 signature over a hash holds, exactly as
//! [`ves::key::verify`] says. For events with their keys:
//!
//! ```sql
//! SELECT e.sequence_number FROM events e
//! JOIN keys k ON k.tenant_id = e.tenant_id AND k.agent_id = e.source_agent_id AND k.key_id = e.agent_key_id
//! WHERE e.agent_signature_scheme IN (0, 1) AND NOT ves_verify(k.public_key, e.event_signing_hash, e.agent_signature)
//! ```
//!
//! What it does not say: whether the hash is that of the event ([`ves_signing_hash`](super::signing_hash)), whether the key was
//! valid at that time, whether the key signs by this scheme at all, and anything of the post-quantum schemes 2 and 3, whose
//! signatures are in `agent_signature_bundle`. `event-archive verify` checks all of these. NULL where an argument is NULL; a
//! public key that is no point of the curve verifies nothing.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use ed25519_dalek::VerifyingKey;
use ves::ed25519::{PreparedKey, SignatureInput, verify_many, worth_preparing_from};
use ves::{Hash32, SignatureBytes, key};

use super::scalar::{self, Columns, Kind, Parameter};

const PARAMETERS: &[Parameter] = &[
    ("public_key", Kind::Bytes(32)),
    ("event_signing_hash", Kind::Bytes(32)),
    ("agent_signature", Kind::Bytes(64)),
];

/// The function.
pub fn function() -> ScalarUDF {
    scalar::function("ves_verify", PARAMETERS, DataType::Boolean, compute)
}

fn compute(columns: &Columns<'_>) -> Result<ArrayRef> {
    let keys = columns.bytes::<32>(0)?;
    let messages = columns.bytes::<32>(1)?;
    let signatures = columns.bytes::<64>(2)?;
    let mut verdicts = vec![None; columns.rows()];
    let mut by_key: HashMap<[u8; 32], Vec<usize>> = HashMap::new();
    for row in (0..columns.rows()).filter(|row| columns.complete(*row)) {
        by_key.entry(keys.at(row)).or_default().push(row);
    }
    let message = |row: usize| (Hash32(messages.at(row)), SignatureBytes(signatures.at(row)));
    for (bytes, rows) in by_key {
        let Ok(public) = VerifyingKey::from_bytes(&bytes) else {
            rows.into_iter().for_each(|row| verdicts[row] = Some(false));
            continue;
        };
        if rows.len() < worth_preparing_from() {
            for row in rows {
                let (message, signature) = message(row);
                verdicts[row] = Some(key::verify(&public, &message, &signature));
            }
            continue;
        }
        // A key's multiples take half a MiB: they are kept for these rows and no longer.
        let prepared = PreparedKey::new(&public);
        let signed: Vec<(Hash32, SignatureBytes)> = rows.iter().map(|row| message(*row)).collect();
        let claims: Vec<SignatureInput<'_>> = signed
            .iter()
            .map(|(message, signature)| SignatureInput {
                key: &prepared,
                message: &message.0,
                signature,
            })
            .collect();
        for (row, holds) in rows.into_iter().zip(verify_many(&claims)) {
            verdicts[row] = Some(holds);
        }
    }
    Ok(Arc::new(BooleanArray::from(verdicts)))
}
