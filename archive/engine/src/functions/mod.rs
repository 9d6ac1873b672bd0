//! The functions that only this field has, for every session: of a client, a scheduler and an executor.
//!
//! | function | what it gives |
//! |---|---|
//! | [`ves_leaf(tenant_id, store_id, sequence_number, event_signing_hash, agent_signature)`](leaf) | the event's leaf |
//! | [`ves_payload_hash(payload)`](payload_hash) | the plain hash of a payload |
//! | [`ves_signing_hash(…)`](signing_hash) | the hash that the agent signed |
//! | [`ves_verify(public_key, event_signing_hash, agent_signature)`](verify) | whether an Ed25519 signature holds |
//! | [`ves_merkle_root(leaf ORDER BY sequence_number)`](merkle_root) | the root over leaves |
//! | [`ves_gaps(sequence_number)`](gaps) | the numbers that are missing |

pub mod gaps;
pub mod leaf;
pub mod merkle_root;
pub mod payload_hash;
mod scalar;
pub mod signing_hash;
pub mod verify;

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::execution::FunctionRegistry;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// The functions of rows.
pub fn scalar_functions() -> Vec<Arc<ScalarUDF>> {
    [
        leaf::function(),
        payload_hash::function(),
        signing_hash::function(),
        verify::function(),
    ]
    .map(Arc::new)
    .into()
}

/// The functions of many rows.
pub fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    [merkle_root::function(), gaps::function()].map(Arc::new).into()
}

/// Makes them known to a session.
///
/// # Errors
/// If the session takes no functions.
pub fn register(registry: &mut dyn FunctionRegistry) -> Result<()> {
    for function in scalar_functions() {
        registry.register_udf(function)?;
    }
    for function in aggregate_functions() {
        registry.register_udaf(function)?;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
