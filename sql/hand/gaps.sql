-- gaps.sql: which numbers of the VES log are missing, as far as this database itself can know.
--
-- How to run (it only reads, in one consistent view of the database):
--   psql -X -v ON_ERROR_STOP=1 -f gaps.sql "$DATABASE_URL"
-- For other programs add -q --csv; findings are data, so the exit status is 0 with gaps or without.
--
-- What it prints:
--   1. streams: for each stream (tenant_id, store_id) its rows, the first and last number (head), its counter, the
--      highest number that the database knows from any of its tables (known), and what is wrong with the counter:
--        missing   there is no row in ves_sequence_counters: every new event fails
--        behind    the counter is below known: new events fail, or get a number that was promised to another event
--        ahead     no table but the counter knows numbers so high: the lost tail below may be all that is left of
--                  them, so never lower it
--   2. gaps: the missing numbers as ranges, both ends included.
--        leading   before the first row (sequences start at 1)
--        interior  between two rows
--        tail      after the last row, up to known; known_from says which tables know of it. A stream without any
--                  row is all tail.
--   3. receipts that belong to no event here, so that nobody can say which stream they are of (0 is right).
--
-- What it cannot know, so that "no gaps" here never means that nothing was lost:
--   - agents' outboxes and pulled caches: after a recovery to an earlier time they know numbers, and hold events,
--     of which this database has no trace at all;
--   - the chain: batches that were anchored and that this database has forgotten;
--   - other copies: replicas, dumps, exports.
--   `sequencer-recovery audit` with --outbox and --anchors asks those witnesses too.
-- It counts rows and does not verify them: not a hash, signature, receipt or root is recomputed.
-- The counter of ves_events is ves_sequence_counters. The tables sequence_counters and x402_sequence_counters count
-- other sequences (`events`, `x402_payment_intents`) and say nothing about this log.

\set ON_ERROR_STOP on
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;

\echo streams
WITH
rows_of AS (
    SELECT tenant_id, store_id, count(*) AS events,
           min(sequence_number) AS first_sequence, max(sequence_number) AS head
    FROM ves_events GROUP BY tenant_id, store_id
),
receipts_of AS (
    SELECT e.tenant_id, e.store_id, max(r.sequence_number) AS last_receipt
    FROM ves_sequencer_receipts r JOIN ves_events e USING (event_id)
    GROUP BY e.tenant_id, e.store_id
),
commitments_of AS (
    SELECT tenant_id, store_id, max(sequence_end) AS last_commitment
    FROM ves_commitments GROUP BY tenant_id, store_id
),
counters AS (SELECT tenant_id, store_id, current_sequence AS counter FROM ves_sequence_counters),
known AS (
    SELECT *, greatest(head, last_receipt, last_commitment, counter) AS known
    FROM rows_of
    FULL JOIN receipts_of USING (tenant_id, store_id)
    FULL JOIN commitments_of USING (tenant_id, store_id)
    FULL JOIN counters USING (tenant_id, store_id)
)
SELECT tenant_id, store_id, coalesce(events, 0) AS events, first_sequence, head, counter, known,
       CASE
           WHEN counter IS NULL THEN 'missing'
           WHEN counter < known THEN 'behind'
           WHEN counter > greatest(head, last_receipt, last_commitment, 0) THEN 'ahead'
           ELSE 'ok'
       END AS counter_is
FROM known
ORDER BY tenant_id, store_id;

\echo gaps
WITH
placed AS (
    SELECT tenant_id, store_id, sequence_number,
           -- 0 before the first row makes the leading gap a hole like any other.
           lag(sequence_number, 1, 0::int8) OVER (
               PARTITION BY tenant_id, store_id ORDER BY sequence_number
           ) AS previous
    FROM ves_events WHERE sequence_number >= 1
),
holes AS (
    SELECT tenant_id, store_id, CASE WHEN previous = 0 THEN 'leading' ELSE 'interior' END AS gap,
           previous + 1 AS first_missing, sequence_number - 1 AS last_missing, NULL::text AS known_from
    FROM placed WHERE sequence_number > previous + 1
),
heads AS (
    SELECT tenant_id, store_id, max(sequence_number) AS head
    FROM ves_events WHERE sequence_number >= 1 GROUP BY tenant_id, store_id
),
witnesses AS (
    SELECT tenant_id, store_id, 'counter' AS witness, current_sequence AS known FROM ves_sequence_counters
    UNION ALL
    SELECT e.tenant_id, e.store_id, 'receipts', max(r.sequence_number)
    FROM ves_sequencer_receipts r JOIN ves_events e USING (event_id) GROUP BY e.tenant_id, e.store_id
    UNION ALL
    SELECT tenant_id, store_id, 'commitments', max(sequence_end)
    FROM ves_commitments GROUP BY tenant_id, store_id
),
tails AS (
    SELECT tenant_id, store_id, 'tail' AS gap, coalesce(head, 0) + 1 AS first_missing, max(known) AS last_missing,
           string_agg(witness || ' ' || known, ', ' ORDER BY known DESC, witness) AS known_from
    FROM witnesses LEFT JOIN heads USING (tenant_id, store_id)
    WHERE known > coalesce(head, 0)
    GROUP BY tenant_id, store_id, head
)
SELECT tenant_id, store_id, gap, first_missing, last_missing, last_missing - first_missing + 1 AS missing, known_from
FROM (SELECT * FROM holes UNION ALL SELECT * FROM tails) AS gaps
ORDER BY tenant_id, store_id, first_missing;

\echo receipts of no event
SELECT count(*) AS receipts_of_no_event, max(r.sequence_number) AS highest
FROM ves_sequencer_receipts r
WHERE NOT EXISTS (SELECT FROM ves_events e WHERE e.event_id = r.event_id);

COMMIT;
