-- The receipts whose rows lie behind this one, as they lie there: the last columns of both/entries.sql.
SELECT
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
FROM ves_sequencer_receipts
WHERE rowid > $1
ORDER BY rowid
