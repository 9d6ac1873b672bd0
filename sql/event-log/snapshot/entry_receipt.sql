-- The receipt of an event, the last columns of both/entries.sql, and where its row is.
SELECT
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle, rowid
FROM ves_sequencer_receipts
WHERE event_id = $1
