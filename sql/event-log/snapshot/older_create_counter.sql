-- The counter of a stream of events that has none.
INSERT INTO sequence_counters (tenant_id, store_id, current_sequence, updated_at)
VALUES ($1, $2, 0, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
ON CONFLICT (tenant_id, store_id) DO NOTHING
