-- Where this session is: the server, the database, the role, the schema of the log's tables.
SELECT
    current_setting('server_version') AS server_version,
    current_database()::text AS database,
    current_user::text AS role,
    (SELECT n.nspname::text
        FROM pg_catalog.pg_class c
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass('ves_events')) AS schema,
    pg_is_in_recovery()::int AS in_recovery,
    (has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
        AND has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')
        AND has_function_privilege('pg_catalog.pg_control_recovery()', 'EXECUTE'))::int AS may_see_control
