-- The first key of ves_sequencer_receipts (event_id)
-- that more than one row has, as an index on these columns holds them, which is read in its order.
SELECT COUNT(*) FROM (
    SELECT 1
    FROM ves_sequencer_receipts
    GROUP BY event_id
    HAVING COUNT(*) > 1
    ORDER BY event_id
    LIMIT 1
) AS repeated
