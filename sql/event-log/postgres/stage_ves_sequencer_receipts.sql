-- Where rows of ves_sequencer_receipts arrive, with the line that each is. Gone with the transaction.
CREATE TEMPORARY TABLE stage_ves_sequencer_receipts (
    line int8 NOT NULL,
    event_id uuid,
    sequencer_id uuid,
    sequence_number int8,
    sequenced_at timestamptz,
    receipt_hash bytea,
    sequencer_signature bytea,
    sequencer_key_version int8,
    receipt_signature_scheme int8,
    receipt_signature_bundle bytea
) ON COMMIT DROP;
-- What is written ahead is written in pieces.
CREATE INDEX stage_ves_sequencer_receipts_lines ON pg_temp.stage_ves_sequencer_receipts (line)
