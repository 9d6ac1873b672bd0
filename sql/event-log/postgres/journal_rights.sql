-- Whether this role may make the journal, and who and where that is.
SELECT CASE
        WHEN n.oid IS NULL THEN has_database_privilege(current_database(), 'CREATE')
        ELSE has_schema_privilege(n.oid, 'CREATE') AND has_schema_privilege(n.oid, 'USAGE')
    END::int4, current_user::text, current_database()::text
FROM (VALUES (1)) AS one (row)
LEFT JOIN pg_namespace n ON n.nspname = 'sequencer_recovery'
