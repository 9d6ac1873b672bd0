-- Of which streams the events are that carry the given commands.
SELECT command_id, tenant_id, store_id
FROM ves_events
WHERE command_id = ANY ($1)
