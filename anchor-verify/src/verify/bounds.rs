//! Fields that enter no hash: what can be derived is compared, what can be bounded is bounded, and the rest is named, so
//! that nobody takes it for proven. `docs/verify.md` has the table of all fields.

use event_log::{Commitment, LogEntry};
use ves::Timestamp;

use crate::verify::code;
use crate::verify::plan::{Plan, Unit};
use crate::verify::report::Failure;

/// Fields of a log that enter no hash and follow from nothing. The first of a pair says what they are of.
const LOG: [(&str, &str); 5] = [
    (
        "events",
        "command_id, base_version, sequenced_at (but that it is not after the anchor), agent_signature_scheme, \
         agent_signature_bundle",
    ),
    (
        "encrypted payloads",
        "aead, hpke, enc_version, and members that are not known",
    ),
    (
        "receipts",
        "sequencer_id, sequencer_key_version (but by keys that are given with their versions), receipt_signature_scheme, \
         receipt_signature_bundle",
    ),
    (
        "commitments",
        "ves_version, committed_at (but that it is not after the anchor), anchored_at, and where no anchor is given \
         batch_id, chain_id, chain_tx_hash, chain_block_number",
    ),
    ("streams", "range, counter"),
];

/// Those of an export's first line.
const EXPORT: (&str, &str) = ("the export", "whole, redacted");

/// Those of keys, unless the auditor gave them.
const KEYS: (&str, &str) = (
    "agents' keys",
    "status, valid_from, valid_to, revoked_at, key_algorithm, public_key_bundle, and all of those that no event uses (--keys pins them)",
);

/// Those of an anchors file.
const ANCHORS: (&str, &str) = (
    "the anchors file",
    "chain_id, checkpoint, searched_from, scanned, refused, transaction_hash of anchors",
);

/// What was given: whose unbound fields are to be named.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    pub log: bool,
    pub export: bool,
    pub own_keys: bool,
    pub anchors: bool,
}

impl Given {
    /// The one line that names all fields that nothing binds; `None` if nothing has any.
    pub fn unbound(self) -> Option<String> {
        let groups = LOG
            .iter()
            .filter(|_| self.log)
            .chain(self.export.then_some(&EXPORT))
            .chain(self.own_keys.then_some(&KEYS))
            .chain(self.anchors.then_some(&ANCHORS));
        let named: Vec<String> = groups.map(|(of, fields)| format!("of {of}: {fields}")).collect();
        (!named.is_empty()).then(|| format!("fields that nothing binds: {}", named.join("; ")))
    }
}

/// Whether the column `created_at` is the moment of the text that was signed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CreatedAt {
    Same,
    Other(Timestamp),
    /// The text is no time that is known here; the sequencer may have known it.
    Unknown,
}

pub(super) fn created_at(entry: &LogEntry) -> CreatedAt {
    let text = &entry.event.created_at;
    match Timestamp::from_canonical(text).or_else(|| text.parse().ok()) {
        Some(moment) if moment == entry.created_at_column => CreatedAt::Same,
        Some(moment) => CreatedAt::Other(moment),
        None => CreatedAt::Unknown,
    }
}

/// Whether a commitment names a place on the chain.
pub(super) fn names_place(c: &Commitment) -> bool {
    (c.chain_tx_hash, c.chain_block_number) != (None, None)
}

/// Whether an anchor of the unit is at the place that a commitment names, whatever it is worth.
pub(super) fn is_anchored_there(c: &Commitment, unit: &Unit) -> bool {
    let failed = unit
        .failed_anchors
        .iter()
        .map(|a| (a.transaction_hash, a.block_number));
    let mut places = unit
        .anchored
        .iter()
        .flat_map(|a| a.places.iter().copied())
        .chain(failed);
    places.any(|(transaction, block)| {
        // An anchor that receipts alone know has zeros for its transaction.
        c.chain_tx_hash
            .is_none_or(|said| transaction.is_zero() || said == transaction)
            && c.chain_block_number.is_none_or(|said| said == block)
    })
}

/// What a commitment says of its anchoring that no anchor of its range says.
pub(super) fn commitment(c: &Commitment, unit: &Unit, plan: &Plan) -> Vec<Failure> {
    let mut found = Vec::new();
    let id = c.batch_id;
    if let Some(at) = unit.anchored_at.filter(|at| at.is_before(c.committed_at)) {
        let what = format!(
            "commitment {id} is of {}, block {} that anchors it of {}",
            c.committed_at, at.block, at.time
        );
        found.push(Failure::new(code::COMMITMENT_TIME, what));
    }
    if unit.anchored.is_empty() {
        return found;
    }
    if let (Some(said), Some(chain)) = (c.chain_id, plan.chain_id)
        && u64::from(said) != chain
    {
        let what = format!("commitment {id} is said to be on chain {said}, the anchors are of chain {chain}");
        found.push(Failure::new(code::COMMITMENT_CHAIN, what));
    }
    if names_place(c) && !plan.anchored_elsewhere && !is_anchored_there(c, unit) {
        let said =
            |what: &str, value: Option<String>| value.map_or(String::new(), |v| format!(" {what} {v}"));
        let what = format!(
            "commitment {id} is said to be anchored in{}{}, and none of the anchors of its range is there",
            said("transaction", c.chain_tx_hash.map(|hash| hash.to_string())),
            said("block", c.chain_block_number.map(|block| block.to_string())),
        );
        found.push(Failure::new(code::COMMITMENT_CHAIN, what));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_has_no_unbound_fields() {
        assert_eq!(Given::default().unbound(), None);
        let line = Given {
            anchors: true,
            ..Given::default()
        };
        assert!(
            line.unbound()
                .is_some_and(|line| line.contains("transaction_hash"))
        );
    }
}
