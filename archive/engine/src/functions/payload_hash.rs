//! `ves_payload_hash(payload)`: the plain hash of a payload in the open, as [`ves::payload::plain_hash`] computes it over the
//! canonical form of its JSON. NULL where the text is NULL or no JSON.
//!
//! Of an encrypted event it says nothing: its `payload` is NULL, and its `payload_plain_hash` is of a text that only the
//! holders of keys know.

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;
use ves::payload::PayloadHasher;

use super::scalar::{self, Columns, HASH, Kind, Parameter};

const PARAMETERS: &[Parameter] = &[("payload", Kind::Text)];

/// The function.
pub fn function() -> ScalarUDF {
    scalar::function("ves_payload_hash", PARAMETERS, HASH, compute)
}

fn compute(columns: &Columns<'_>) -> Result<ArrayRef> {
    let texts = columns.text(0)?;
    let mut hasher = PayloadHasher::default();
    let mut hashed = Vec::with_capacity(texts.len());
    for row in 0..texts.len() {
        hashed.push(texts.is_valid(row) && hasher.push(texts.value(row)).is_ok());
    }
    let mut hashes = hasher.hash().iter();
    let values: Vec<_> = hashed
        .into_iter()
        .map(|hashed| if hashed { hashes.next().copied() } else { None })
        .collect();
    scalar::hashes(values.into_iter())
}
