SELECT key_id FROM agent_signing_keys WHERE tenant_id = ?1 AND agent_id = ?2 AND key_id = ?3 AND status = 'active';
