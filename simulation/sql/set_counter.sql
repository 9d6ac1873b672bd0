-- The time is the machine's, as the server's clock is the sequencer's: that a counter moved is how an undo sees that one ran.
INSERT INTO ves_sequence_counters (tenant_id, store_id, current_sequence, updated_at)
VALUES (?1, ?2, ?3, strftime('%Y-%m-%dT%H:%M:%f000Z', 'now'))
ON CONFLICT (tenant_id, store_id)
DO UPDATE SET current_sequence = excluded.current_sequence, updated_at = excluded.updated_at;
