-- What is remembered of each stream.
SELECT tenant_id, store_id, head, checked, leaf, counter, committed, anchored, highest, highest_by, seen_at
FROM streams ORDER BY tenant_id, store_id
