-- Where the given events are, in whatever stream.
SELECT event_id, tenant_id, store_id, sequence_number
FROM ves_events
WHERE event_id = ANY ($1)
