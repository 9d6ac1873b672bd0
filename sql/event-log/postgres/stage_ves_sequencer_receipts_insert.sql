-- The lines that arrived, into ves_sequencer_receipts: here its types, constraints and triggers have their say.
INSERT INTO ves_sequencer_receipts (
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
)
SELECT
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
FROM pg_temp.stage_ves_sequencer_receipts
WHERE line BETWEEN $1 AND $2
