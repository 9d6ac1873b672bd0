-- An agent's key.
INSERT INTO agent_signing_keys (tenant_id, agent_id, key_id, public_key, status, created_at)
VALUES ($1, $2, $3, $4, $5, $6::text::timestamptz)
