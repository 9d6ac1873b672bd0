-- Each row of events, by what an index on (tenant_id, store_id, sequence_number) holds of it.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) # hashint8extended(sequence_number::bigint, 2) AS key,
    tenant_id AS tenant_id, store_id AS store_id, sequence_number::bigint AS number,
    'event ' || event_id || ' of the older log' AS label
FROM events
