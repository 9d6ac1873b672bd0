-- Remembers a stream as it is now.
INSERT INTO streams (tenant_id, store_id, head, checked, leaf, counter, committed, anchored, highest, highest_by, seen_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
ON CONFLICT (tenant_id, store_id) DO UPDATE SET
    head = excluded.head, checked = excluded.checked, leaf = excluded.leaf, counter = excluded.counter,
    committed = excluded.committed, anchored = excluded.anchored, highest = excluded.highest,
    highest_by = excluded.highest_by, seen_at = excluded.seen_at
