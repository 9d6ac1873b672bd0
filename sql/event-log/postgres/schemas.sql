-- The schemas that have a table of this name, those that are searched first, in the order in which they are.
SELECT n.nspname::text, (path.place IS NOT NULL)::int4
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place) ON path.name = n.nspname
WHERE c.relname = $1 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\_temp\_%'
ORDER BY path.place, n.nspname
