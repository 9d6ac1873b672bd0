-- What an index on ves_events (event_id)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(event_id, 0) AS key
FROM ves_events
ORDER BY event_id
