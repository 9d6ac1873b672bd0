-- The highest number that a receipt of each stream gives. A receipt is of its event's stream, so every row of both tables
-- is looked at.
SELECT e.tenant_id, e.store_id, MAX(r.sequence_number)
FROM ves_sequencer_receipts r
JOIN ves_events e ON e.event_id = r.event_id
WHERE ($1 IS NULL OR e.tenant_id = $1) AND ($2 IS NULL OR e.store_id = $2)
GROUP BY e.tenant_id, e.store_id
