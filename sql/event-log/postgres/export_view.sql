-- A name by which other sessions can see what this transaction sees; NULL if this role may not give one.
SELECT CASE WHEN has_function_privilege('pg_export_snapshot()', 'EXECUTE') THEN pg_export_snapshot() END
