-- The gap query of the recovery guides, right for every stream and with the leading gap: each row beside the one before.
SELECT tenant_id, store_id, previous + 1, sequence_number - 1
FROM (
    SELECT tenant_id, store_id, sequence_number,
           LAG(sequence_number, 1, 0::int8) OVER (
               PARTITION BY tenant_id, store_id ORDER BY sequence_number
           ) AS previous
    FROM ves_events
) AS numbered
WHERE sequence_number > previous + 1
ORDER BY tenant_id, store_id, sequence_number
