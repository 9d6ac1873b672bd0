SELECT tenant_id, store_id, max(sequence_number) FROM ves_events GROUP BY tenant_id, store_id ORDER BY 1, 2;
