-- Each row of x402_sequence_counters, by what an index on (tenant_id, store_id) holds of it.
SELECT
    uuid_hash_extended(tenant_id, 0) # uuid_hash_extended(store_id, 1) AS key,
    tenant_id AS tenant_id, store_id AS store_id, NULL::bigint AS number,
    'the counter of payment intents' AS label
FROM x402_sequence_counters
