-- What changes when a table, a column, an index or a right of the schema does: which tables are there, and which transaction
-- described each last. VACUUM and ANALYZE do not change it.
SELECT COALESCE(
    md5(string_agg(c.oid::text || ' ' || c.xmin::text || ' ' || c.relfilenode::text, ',' ORDER BY c.oid)),
    ''
) AS tables
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1
