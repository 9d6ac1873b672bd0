-- The named tables that are there, and their indexes: how each is named in a command, whether it is a whole plain index
-- on columns, which these are, whether it is sound by its own word, and how often this transaction has read it. A table
-- without an index comes once; a view, or a table that is cut into parts, comes with what it is.
SELECT
    wanted.name, t.relkind::text, i.indexrelid::bigint,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    (m.amname = 'btree')::int4,
    (i.indpred IS NULL AND i.indexprs IS NULL)::int4,
    (i.indisunique AND i.indimmediate)::int4,
    (i.indisvalid AND i.indislive)::int4,
    i.indisready::int4,
    ARRAY_TO_STRING(ARRAY(
        SELECT a.attname::text
        FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (attnum, place)
        LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
        ORDER BY k.place
    ), ','),
    COALESCE(pg_stat_get_xact_numscans(i.indexrelid), 0)
FROM unnest($1::text[]) AS wanted (name)
JOIN pg_class t ON t.oid = to_regclass(quote_ident(wanted.name))
LEFT JOIN pg_index i ON i.indrelid = t.oid
LEFT JOIN pg_class c ON c.oid = i.indexrelid
LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_am m ON m.oid = c.relam
ORDER BY wanted.name, 3
