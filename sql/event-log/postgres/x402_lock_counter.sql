-- What gives out numbers of x402_payment_intents holds this row while it does.
SELECT current_sequence FROM x402_sequence_counters WHERE tenant_id = $1 AND store_id = $2 FOR UPDATE
