-- Rows of ves_sequencer_receipts that share their event_id, and in which columns they differ. A row for each copy.
SELECT
    CAST(x.event_id AS text), e.tenant_id, e.store_id, x.sequence_number,
    'the receipt of event ' || x.event_id, twice.copies, twice.differing
FROM ves_sequencer_receipts x
JOIN (
    SELECT
        event_id, COUNT(*) AS copies,
        CASE WHEN COUNT(DISTINCT sequencer_id) > 1 OR COUNT(sequencer_id) NOT IN (0, COUNT(*)) THEN ' sequencer_id' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequence_number) > 1 OR COUNT(sequence_number) NOT IN (0, COUNT(*)) THEN ' sequence_number' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequenced_at) > 1 OR COUNT(sequenced_at) NOT IN (0, COUNT(*)) THEN ' sequenced_at' ELSE '' END
            || CASE WHEN COUNT(DISTINCT receipt_hash) > 1 OR COUNT(receipt_hash) NOT IN (0, COUNT(*)) THEN ' receipt_hash' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequencer_signature) > 1 OR COUNT(sequencer_signature) NOT IN (0, COUNT(*)) THEN ' sequencer_signature' ELSE '' END
            || CASE WHEN COUNT(DISTINCT sequencer_key_version) > 1 OR COUNT(sequencer_key_version) NOT IN (0, COUNT(*)) THEN ' sequencer_key_version' ELSE '' END
            || CASE WHEN COUNT(DISTINCT receipt_signature_scheme) > 1 OR COUNT(receipt_signature_scheme) NOT IN (0, COUNT(*)) THEN ' receipt_signature_scheme' ELSE '' END
            || CASE WHEN COUNT(DISTINCT receipt_signature_bundle) > 1 OR COUNT(receipt_signature_bundle) NOT IN (0, COUNT(*)) THEN ' receipt_signature_bundle' ELSE '' END AS differing
    FROM ves_sequencer_receipts
    GROUP BY event_id
    HAVING COUNT(*) > 1
    ORDER BY event_id
    LIMIT 1000
) AS twice ON x.event_id = twice.event_id
LEFT JOIN ves_events e ON e.event_id = x.event_id
ORDER BY x.event_id
