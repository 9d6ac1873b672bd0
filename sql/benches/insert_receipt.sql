-- One receipt.
INSERT INTO ves_sequencer_receipts (
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
)
VALUES ($1, $2, $3, $4::text::timestamptz, $5, $6, $7, $8, $9)
