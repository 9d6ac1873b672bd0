-- How a schema has relations of these names: whether this role may read them, and the columns of those that are tables of
-- some kind, with what their types are made of and the longest text that they hold.
SELECT
    c.relname::text,
    (c.relkind NOT IN ('r', 'p', 'v', 'm', 'f') OR has_table_privilege(c.oid, 'SELECT'))::int4,
    a.attname::text,
    CASE WHEN base.kind = 'e' THEN 'enum'
        WHEN base.namespace = 'pg_catalog'::regnamespace THEN format_type(base.oid, NULL)
        ELSE base.name END,
    CASE WHEN a.atttypmod > 4 AND base.category = 'S' THEN (a.atttypmod - 4)::int8 END
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
    AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN LATERAL (
    WITH RECURSIVE types AS (
        SELECT t.* FROM pg_type t WHERE t.oid = a.atttypid
        UNION ALL
        SELECT t.* FROM types d JOIN pg_type t ON t.oid = d.typbasetype
    )
    SELECT oid, typname::text AS name, typtype AS kind, typnamespace AS namespace, typcategory AS category
    FROM types WHERE typtype <> 'd'
) AS base ON true
WHERE n.nspname = $2 AND c.relname = ANY ($1)
