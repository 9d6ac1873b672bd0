-- What the leaves of a range are made of, in order, each with the event's receipt if it has one.
SELECT
    e.event_id, e.event_signing_hash, e.agent_signature, e.sequence_number, r.event_id, r.sequencer_id,
    r.sequence_number, r.sequenced_at, r.receipt_hash, r.sequencer_signature, r.sequencer_key_version,
    r.receipt_signature_scheme, r.receipt_signature_bundle
FROM ves_events e
LEFT JOIN ves_sequencer_receipts r ON r.event_id = e.event_id
WHERE e.tenant_id = $1 AND e.store_id = $2 AND e.sequence_number BETWEEN $3 AND $4
ORDER BY e.sequence_number
