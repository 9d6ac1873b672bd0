-- A key that was registered again goes, if it is the one that was.
DELETE FROM agent_signing_keys WHERE tenant_id = $1 AND agent_id = $2 AND key_id = $3 AND public_key = $4
