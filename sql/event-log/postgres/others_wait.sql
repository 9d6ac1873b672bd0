-- How many sessions wait for a lock that this one holds.
SELECT count(*) AS waiting FROM pg_catalog.pg_locks
WHERE NOT granted AND pg_catalog.pg_backend_pid() = ANY (pg_catalog.pg_blocking_pids(pid))
