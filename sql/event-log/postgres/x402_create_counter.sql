-- A missing row cannot be locked: make it. The key lets one transaction at a time do so.
INSERT INTO x402_sequence_counters (tenant_id, store_id, current_sequence, updated_at)
VALUES ($1, $2, 0, now())
ON CONFLICT (tenant_id, store_id) DO NOTHING
