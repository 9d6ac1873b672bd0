-- The commands of all events, and of which streams these are.
SELECT command_id, tenant_id, store_id
FROM ves_events
WHERE command_id IS NOT NULL
