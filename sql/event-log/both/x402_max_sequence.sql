-- The highest number in a stream of x402_payment_intents.
SELECT MAX(sequence_number) FROM x402_payment_intents WHERE tenant_id = $1 AND store_id = $2
