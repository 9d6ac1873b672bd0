-- The numbers of a stream of x402_payment_intents that are there, as ranges: within a range, number minus rank stays the same.
SELECT MIN(sequence_number), MAX(sequence_number)
FROM (
    SELECT sequence_number, sequence_number - DENSE_RANK() OVER (ORDER BY sequence_number) AS island
    FROM x402_payment_intents
    WHERE tenant_id = $1 AND store_id = $2 AND sequence_number >= 1
) AS numbered
GROUP BY island
ORDER BY 1
