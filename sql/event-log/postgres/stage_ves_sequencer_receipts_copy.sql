-- Rows of ves_sequencer_receipts as they arrive, in PostgreSQL's binary format.
COPY pg_temp.stage_ves_sequencer_receipts (
    line, event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
) FROM STDIN (FORMAT binary)
