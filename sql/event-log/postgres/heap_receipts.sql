-- Each row of ves_sequencer_receipts, by what an index on (event_id) holds of it.
SELECT
    uuid_hash_extended(r.event_id, 0) AS key, e.tenant_id AS tenant_id, e.store_id AS store_id,
    r.sequence_number::bigint AS number, 'the receipt of event ' || r.event_id AS label
FROM ves_sequencer_receipts r
LEFT JOIN (
    -- One row for each, whatever is there twice.
    SELECT event_id, MIN(tenant_id::text)::uuid AS tenant_id, MIN(store_id::text)::uuid AS store_id
    FROM ves_events
    GROUP BY event_id
) AS e ON e.event_id = r.event_id
