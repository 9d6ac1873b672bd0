-- Gives an event of a stream another number, if it has the one that it is said to have. The other number must be free.
UPDATE ves_events SET sequence_number = $1, sequenced_at = $2::timestamptz
WHERE tenant_id = $3 AND store_id = $4 AND event_id = $5 AND sequence_number = $6
