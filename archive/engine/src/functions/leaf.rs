//! `ves_leaf(tenant_id, store_id, sequence_number, event_signing_hash, agent_signature)`: the leaf of an event, as
//! [`ves::merkle::leaf_hash`] computes it.
//!
//! It binds what the row says: whether the signing hash is that of the row's other columns, and whether the signature holds,
//! it does not say ([`ves_signing_hash`](super::signing_hash), [`ves_verify`](super::verify)). NULL where an argument is NULL
//! or the number is below 0, which no position is.

use datafusion::arrow::array::ArrayRef;
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use uuid::Uuid;
use ves::{Hash32, SignatureBytes, StoreId, StreamKey, TenantId, merkle};

use super::scalar::{self, Columns, HASH, Kind, Parameter};

const PARAMETERS: &[Parameter] = &[
    ("tenant_id", Kind::Bytes(16)),
    ("store_id", Kind::Bytes(16)),
    ("sequence_number", Kind::Number),
    ("event_signing_hash", Kind::Bytes(32)),
    ("agent_signature", Kind::Bytes(64)),
];

/// The function.
pub fn function() -> ScalarUDF {
    scalar::function("ves_leaf", PARAMETERS, HASH, compute)
}

fn compute(columns: &Columns<'_>) -> Result<ArrayRef> {
    let tenants = columns.bytes::<16>(0)?;
    let stores = columns.bytes::<16>(1)?;
    let numbers = columns.numbers(2)?;
    let hashes = columns.bytes::<32>(3)?;
    let signatures = columns.bytes::<64>(4)?;
    let leaf = |row: usize| {
        let number = u64::try_from(numbers.value(row))
            .ok()
            .filter(|_| columns.complete(row))?;
        let tenant = TenantId(Uuid::from_bytes(tenants.at(row)));
        let stream = StreamKey::new(tenant, StoreId(Uuid::from_bytes(stores.at(row))));
        let signature = SignatureBytes(signatures.at(row));
        Some(merkle::leaf_hash(
            &stream,
            number,
            &Hash32(hashes.at(row)),
            &signature,
        ))
    };
    scalar::hashes((0..columns.rows()).map(leaf))
}
