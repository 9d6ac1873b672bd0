-- Every row of ves_sequencer_receipts, for a snapshot: in the order of the events, so that they are read side by side.
SELECT
    event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, sequencer_signature,
    sequencer_key_version, receipt_signature_scheme, receipt_signature_bundle
FROM ves_sequencer_receipts
LEFT JOIN (
    SELECT event_id AS of_event, tenant_id AS of_tenant, store_id AS of_store, sequence_number AS of_number
    FROM ves_events
) AS e ON of_event = event_id
ORDER BY of_tenant, of_store, of_number, event_id
