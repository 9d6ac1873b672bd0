-- Every row of x402_payment_intents, for a snapshot: of what an intent says only its number.
SELECT
    intent_id, tenant_id, store_id, sequence_number
FROM x402_payment_intents
ORDER BY intent_id
