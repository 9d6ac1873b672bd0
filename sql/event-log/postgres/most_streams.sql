-- How many streams there may be at most for their numbers to be counted in blocks, one stream after the other, in less time than
-- by a walk through the whole index: where a stream has some thousand rows. 0 if the table was never analysed, or if a
-- row can be without a stream or a number.
SELECT CASE WHEN BOOL_AND(a.attnotnull) THEN GREATEST(MAX(t.reltuples), 0)::bigint / 2000 ELSE 0 END
FROM pg_class t
JOIN pg_attribute a ON a.attrelid = t.oid AND a.attname IN ('tenant_id', 'store_id', 'sequence_number')
WHERE t.oid = to_regclass('ves_events')
