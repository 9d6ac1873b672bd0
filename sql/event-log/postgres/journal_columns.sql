-- The columns of the journal if it is there, and what this role may do with it. By the catalogue: a role without rights
-- can look too.
SELECT a.attname::text, format_type(a.atttypid, NULL),
    (c.relkind = 'r' AND NOT c.relhastriggers AND NOT c.relhasrules AND NOT c.relrowsecurity)::int4,
    (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))::int4,
    (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'INSERT'))::int4
FROM pg_namespace n
JOIN pg_class c ON c.relnamespace = n.oid
JOIN pg_attribute a ON a.attrelid = c.oid
WHERE n.nspname = 'sequencer_recovery' AND c.relname = 'journal' AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
