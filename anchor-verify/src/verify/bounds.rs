//! Fields that enter no hash: what can be derived is compared, what can be bounded is bounded (see [`crate::rules`]), and the
//! rest is named, so that nobody takes it for proven. `docs/verify.md` has the table of all fields.

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
pub(crate) struct GivenInputs {
    pub log: bool,
    pub export: bool,
    pub own_keys: bool,
    pub anchors: bool,
}

impl GivenInputs {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_given_has_no_unbound_fields() {
        assert_eq!(GivenInputs::default().unbound(), None);
        let line = GivenInputs {
            anchors: true,
            ..GivenInputs::default()
        };
        assert!(
            line.unbound()
                .is_some_and(|line| line.contains("transaction_hash"))
        );
    }
}
