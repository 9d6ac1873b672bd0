-- Rows of ves_sequencer_receipts: one array a column.
INSERT INTO ves_sequencer_receipts (
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
)
SELECT
    event_id, sequencer_id, sequence_number, sequenced_at::timestamptz, receipt_hash, sequencer_signature,
    sequencer_key_version::int4, receipt_signature_scheme::int2, receipt_signature_bundle
FROM unnest(
    $1::uuid[], $2::uuid[], $3::int8[], $4::text[], $5::bytea[], $6::bytea[], $7::int8[], $8::int8[],
    $9::bytea[]
) AS given (
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
)
