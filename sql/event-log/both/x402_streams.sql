-- How many numbered payment intents each stream has, and their first and last numbers. Numbers below 1 are none: they are counted apart.
SELECT
    tenant_id, store_id,
    COUNT(*) FILTER (WHERE sequence_number >= 1),
    MIN(sequence_number) FILTER (WHERE sequence_number >= 1),
    MAX(sequence_number) FILTER (WHERE sequence_number >= 1),
    COUNT(*) FILTER (WHERE sequence_number < 1)
FROM x402_payment_intents
WHERE ($1 IS NULL OR tenant_id = $1) AND ($2 IS NULL OR store_id = $2)
GROUP BY tenant_id, store_id
HAVING COUNT(sequence_number) > 0
