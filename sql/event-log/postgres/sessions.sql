-- The other clients of this database: who they are, what they said last (as far as this role may see it), and whether
-- they hold or wait for locks that a sequencer takes.
SELECT a.pid::int8,
    a.usename::text AS role,
    COALESCE(a.application_name, '') AS application,
    COALESCE(host(a.client_addr), '') AS address,
    COALESCE(a.state, '') AS state,
    CASE WHEN a.query = '<insufficient privilege>' THEN NULL ELSE LEFT(a.query, 400) END AS statement,
    (EXISTS (
        SELECT 1 FROM pg_locks l
        WHERE l.pid = a.pid AND l.locktype = 'advisory'
    ))::int4::int8 AS advisory,
    (EXISTS (
        SELECT 1 FROM pg_locks l
        WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
        AND l.relation IN (to_regclass('ves_sequence_counters'), to_regclass('ves_command_dedupe'), to_regclass('ves_events'))
    ))::int4::int8 AS writes
FROM pg_stat_activity a
WHERE a.datname = current_database() AND a.pid <> pg_backend_pid() AND a.usename IS NOT NULL
    AND (a.backend_type = 'client backend' OR a.backend_type IS NULL)
    AND COALESCE(a.application_name, '') NOT LIKE 'ves-toolkit%'
ORDER BY a.pid
