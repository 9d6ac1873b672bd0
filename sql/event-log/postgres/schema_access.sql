-- Who asks, and whether they may use a schema.
SELECT current_user::text, has_schema_privilege(n.oid, 'USAGE')::int4
FROM pg_namespace n
WHERE n.nspname = $1
