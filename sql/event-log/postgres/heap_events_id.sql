-- Each row of ves_events, by what an index on (event_id) holds of it.
SELECT
    uuid_hash_extended(event_id, 0) AS key,
    tenant_id AS tenant_id, store_id AS store_id, sequence_number::bigint AS number,
    'event ' || event_id AS label
FROM ves_events
