-- One row of x402_payment_intents.
INSERT INTO x402_payment_intents (
    intent_id, tenant_id, store_id, sequence_number
) VALUES (
    $1, $2, $3, $4
)
