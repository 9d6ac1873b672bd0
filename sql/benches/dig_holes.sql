-- Holes in every :every-th stream: single positions, a range, and the start.
DELETE FROM ves_events
WHERE right(store_id::text, 12)::int8 % :every = 0
    AND (sequence_number % 4999 = 0 OR sequence_number BETWEEN 2000 AND 2100 OR sequence_number <= 3);
VACUUM ves_events;
