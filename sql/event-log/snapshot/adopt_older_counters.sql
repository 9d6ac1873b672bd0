-- The counters of a log whose sequencer counted VES streams in the older table.
INSERT INTO ves_sequence_counters (tenant_id, store_id, current_sequence, updated_at)
SELECT tenant_id, store_id, current_sequence, updated_at FROM sequence_counters;
