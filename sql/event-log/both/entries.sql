-- The events of a stream in a range of numbers, in order, each with its receipt if it has one.
SELECT
    e.event_id, e.command_id, e.ves_version, e.source_agent_id, e.agent_key_id, e.entity_type, e.entity_id,
    e.event_type, e.created_at, e.created_at_str, e.sequenced_at, e.payload_kind, e.payload,
    e.payload_encrypted, e.payload_plain_hash, e.payload_cipher_hash, e.event_signing_hash,
    e.agent_signature, e.sequence_number, e.base_version, e.agent_signature_scheme,
    e.agent_signature_bundle, r.event_id, r.sequencer_id, r.sequence_number, r.sequenced_at,
    r.receipt_hash, r.sequencer_signature, r.sequencer_key_version, r.receipt_signature_scheme,
    r.receipt_signature_bundle
FROM ves_events e
LEFT JOIN ves_sequencer_receipts r ON r.event_id = e.event_id
WHERE e.tenant_id = $1 AND e.store_id = $2 AND e.sequence_number BETWEEN $3 AND $4
ORDER BY e.sequence_number
