-- Revokes an agent's key.
UPDATE agent_signing_keys SET status = 'revoked', revoked_at = $4::text::timestamptz
WHERE tenant_id = $1 AND agent_id = $2 AND key_id = $3
