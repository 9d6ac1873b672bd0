-- The counter of one stream of x402_payment_intents.
SELECT current_sequence FROM x402_sequence_counters WHERE tenant_id = $1 AND store_id = $2
