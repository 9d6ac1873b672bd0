-- Every row of ves_sequencer_receipts, for a snapshot.
SELECT
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
FROM ves_sequencer_receipts
ORDER BY event_id
