-- For how many of the two tables this server can read rows as they lie (since PostgreSQL 14), in one place and not in parts or
-- by another's storage, and keeps that a number, and the receipt of an event, are there once.
SELECT COUNT(*) AS count
FROM (
    VALUES
        ('ves_events', ARRAY['tenant_id', 'store_id', 'sequence_number']),
        ('ves_sequencer_receipts', ARRAY['event_id'])
) AS wanted (name, columns)
JOIN pg_class AS c ON c.oid = to_regclass(wanted.name)
JOIN pg_am AS storage ON storage.oid = c.relam AND storage.amname = 'heap'
WHERE c.relkind = 'r'
    AND current_setting('server_version_num')::int >= 140000
    AND NOT EXISTS (SELECT FROM pg_inherits AS part WHERE part.inhparent = c.oid)
    AND EXISTS (
        SELECT
        FROM pg_index AS i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indimmediate AND i.indisvalid AND i.indisready
            AND i.indpred IS NULL AND i.indexprs IS NULL
            AND wanted.columns = (
                SELECT array_agg(a.attname::text ORDER BY key.at)
                FROM unnest(i.indkey::smallint[]) WITH ORDINALITY AS key (attnum, at)
                JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = key.attnum
                WHERE key.at <= i.indnkeyatts
            )
    )
