-- What a session waits for, and who holds the lock if it is one. One row for each holder, or one without.
SELECT
    a.wait_event_type::text AS wait_event_type,
    a.wait_event::text AS wait_event,
    current_setting('synchronous_standby_names') AS standbys,
    CASE
        WHEN holder.pid IS NULL THEN NULL
        WHEN holder.pid = 0 THEN 'a prepared transaction (pg_prepared_xacts names it; COMMIT PREPARED or ROLLBACK PREPARED ends it)'
        ELSE format(
            'pid %s (%s, user %s, %s, %s)',
            holder.pid,
            coalesce(nullif(b.application_name, ''), 'no application name'),
            coalesce(b.usename, 'unknown'),
            coalesce('in a transaction since ' || date_trunc('second', b.xact_start)::text,
                'since when only its own role or pg_read_all_stats may see'),
            coalesce(b.state, 'state not to be seen'))
    END AS holder
FROM pg_catalog.pg_stat_activity a
LEFT JOIN LATERAL (
    SELECT DISTINCT u.pid
    FROM unnest(CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}'::int[] END) AS u (pid)
) holder ON true
LEFT JOIN pg_catalog.pg_stat_activity b ON b.pid = holder.pid
WHERE a.pid = $1
ORDER BY b.xact_start NULLS LAST
