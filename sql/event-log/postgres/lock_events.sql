-- From here on nobody else can refer to these events.
SELECT event_id FROM ves_events WHERE tenant_id = $1 AND store_id = $2 AND event_id = ANY ($3) FOR UPDATE
