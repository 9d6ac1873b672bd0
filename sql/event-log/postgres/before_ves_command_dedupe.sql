-- Below level 8 the commands of the events themselves were what was remembered; migration 8 begins with them.
ves_command_dedupe AS NOT MATERIALIZED (
    SELECT tenant_id, store_id, command_id, MIN(sequenced_at) AS created_at
    FROM ves_events
    WHERE command_id IS NOT NULL
    GROUP BY tenant_id, store_id, command_id
)
