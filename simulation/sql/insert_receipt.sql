INSERT INTO ves_sequencer_receipts (
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature, sequencer_key_version,
    receipt_signature_scheme
) VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 1);
