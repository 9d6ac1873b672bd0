-- Below level 10 sequence_counters gave out the numbers of both logs. A counter of a stream that has only events of the
-- older one is not one of this.
ves_sequence_counters AS NOT MATERIALIZED (
    SELECT tenant_id, store_id, current_sequence, updated_at
    FROM sequence_counters c
    WHERE EXISTS (SELECT FROM ves_events e WHERE e.tenant_id = c.tenant_id AND e.store_id = c.store_id)
        OR NOT EXISTS (SELECT FROM events o WHERE o.tenant_id = c.tenant_id AND o.store_id = c.store_id)
)
