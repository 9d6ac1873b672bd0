SELECT event_id, tenant_id, store_id, remote_sequence FROM _ves_outbox WHERE remote_sequence IS NOT NULL
UNION ALL
SELECT event_id, tenant_id, store_id, sequence_number FROM _ves_pulled_events;
