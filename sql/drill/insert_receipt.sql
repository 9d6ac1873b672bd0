-- What the sequencer signs for an event.
INSERT INTO ves_sequencer_receipts (event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature)
VALUES ($1, $2, $3, $4::text::timestamptz, $5, $6)
