-- counter_floor.sql: the number below which the counter of a stream must not be, as far as this database knows, and,
-- if asked, the raise to it.
--
-- How to run. Without apply it only reads:
--   psql -X -v ON_ERROR_STOP=1 -f counter_floor.sql "$DATABASE_URL"
-- To raise the counters that are behind and make the missing ones:
--   psql -X -v ON_ERROR_STOP=1 -v apply=1 -f counter_floor.sql "$DATABASE_URL"
-- Not with psql -1: each stream is a transaction of its own. Stop the sequencer before and start it afterwards.
--
-- The floor of a stream is the highest number in any of: its rows in ves_events, their receipts, the ends of its
-- commitments, its counter. MAX(sequence_number) of ves_events alone is not it: a number that was given out and
-- whose event was lost is given out a second time if the counter goes below it, and that cannot be taken back,
-- while a hole can still be filled.
--
-- It never lowers a counter, changes nothing but ves_sequence_counters, and run again changes nothing. It holds
-- what the sequencer holds while it gives out numbers: the stream's row in ves_sequence_counters, FOR UPDATE; the
-- floor is read with the lock held. It gives up on a row that stays locked for 30 s; streams done by then stay done.
--
-- Why ves_sequence_counters: that is the counter of ves_events. The table sequence_counters is the counter of the
-- older `events` table. To set it from ves_events, as some recovery guides say, leaves the VES log broken and can
-- break the older one.
--
-- What it cannot know:
--   - agents' outboxes and pulled caches, the chain's anchors, and other copies of the database. After a recovery to
--     an earlier time they know higher numbers than anything here: then this floor is too low, and a sequencer
--     started on it gives promised numbers out again. `sequencer-recovery counters` with --outbox and --anchors asks
--     them. Use this script alone only if there are no such witnesses.
--   - whether the events are intact: nothing is verified.
--   - receipts without an event (see gaps.sql): they do not say which stream they are of and do not count here.

\set ON_ERROR_STOP on

\echo floors
WITH witnesses AS (
    SELECT tenant_id, store_id, 'counter' AS witness, current_sequence AS number FROM ves_sequence_counters
    UNION ALL
    SELECT tenant_id, store_id, 'events', max(sequence_number) FROM ves_events GROUP BY tenant_id, store_id
    UNION ALL
    SELECT e.tenant_id, e.store_id, 'receipts', max(r.sequence_number)
    FROM ves_sequencer_receipts r JOIN ves_events e USING (event_id) GROUP BY e.tenant_id, e.store_id
    UNION ALL
    SELECT tenant_id, store_id, 'commitments', max(sequence_end) FROM ves_commitments GROUP BY tenant_id, store_id
),
floors AS (
    SELECT tenant_id, store_id, max(number) FILTER (WHERE witness = 'events') AS events,
           max(number) FILTER (WHERE witness = 'receipts') AS receipts,
           max(number) FILTER (WHERE witness = 'commitments') AS commitments,
           max(number) FILTER (WHERE witness = 'counter') AS counter,
           greatest(max(number), 0) AS floor
    FROM witnesses GROUP BY tenant_id, store_id
)
SELECT *,
       CASE
           WHEN counter IS NULL THEN 'create at ' || floor
           WHEN counter < floor THEN 'raise to ' || floor
           ELSE 'leave'
       END AS action
FROM floors ORDER BY tenant_id, store_id;

\if :{?apply}
\else
\set apply 0
\endif
\if :apply
SET lock_timeout = '30s';
SET default_transaction_isolation = 'read committed';
DO $raise$
DECLARE
    stream record;
    counter_was int8;
    floor_now int8;
BEGIN
    FOR stream IN
        SELECT tenant_id, store_id FROM ves_events
        UNION SELECT tenant_id, store_id FROM ves_commitments
        UNION SELECT tenant_id, store_id FROM ves_sequence_counters
        ORDER BY tenant_id, store_id
    LOOP
        SELECT current_sequence INTO counter_was FROM ves_sequence_counters
        WHERE tenant_id = stream.tenant_id AND store_id = stream.store_id FOR UPDATE;
        IF NOT FOUND THEN
            -- A missing row cannot be locked: make it. The key lets one transaction at a time do so.
            INSERT INTO ves_sequence_counters (tenant_id, store_id, current_sequence, updated_at)
            VALUES (stream.tenant_id, stream.store_id, 0, now());
        END IF;

        -- With the lock held, so that no number is given out between this look and the commit.
        SELECT greatest(
            (SELECT max(sequence_number) FROM ves_events
             WHERE tenant_id = stream.tenant_id AND store_id = stream.store_id),
            (SELECT max(r.sequence_number) FROM ves_sequencer_receipts r JOIN ves_events e USING (event_id)
             WHERE e.tenant_id = stream.tenant_id AND e.store_id = stream.store_id),
            (SELECT max(sequence_end) FROM ves_commitments
             WHERE tenant_id = stream.tenant_id AND store_id = stream.store_id),
            0
        ) INTO floor_now;

        UPDATE ves_sequence_counters SET current_sequence = floor_now, updated_at = now()
        WHERE tenant_id = stream.tenant_id AND store_id = stream.store_id AND current_sequence < floor_now;
        IF FOUND OR counter_was IS NULL THEN
            RAISE NOTICE 'stream % %: counter was %, is %', stream.tenant_id, stream.store_id,
                coalesce(counter_was::text, 'missing'), floor_now;
        END IF;
        COMMIT;
    END LOOP;
END
$raise$;
\echo Done. Run it again without apply to see the counters.
\endif
