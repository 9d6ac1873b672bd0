-- Whether an index makes sure that no number is there twice in a stream: then counting tells whether one is missing.
SELECT COUNT(*)
FROM pg_index i
WHERE i.indrelid = to_regclass('ves_events') AND i.indisunique AND i.indisvalid AND i.indimmediate
    AND i.indpred IS NULL AND i.indexprs IS NULL AND i.indnkeyatts = 3
    AND ARRAY['sequence_number', 'store_id', 'tenant_id'] = ARRAY(
        SELECT a.attname::text FROM pg_attribute a
        WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey[0:2]) ORDER BY a.attname::text COLLATE "C"
    )
