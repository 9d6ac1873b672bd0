-- Which cluster this is, and the timeline that it writes or replays. The control file names a new timeline only once the first
-- checkpoint after a promotion has ended; the WAL that is written is on it at once.
SELECT
    s.system_identifier::text AS system_identifier,
    greatest(
        c.timeline_id,
        r.min_recovery_end_timeline,
        CASE WHEN NOT pg_is_in_recovery()
            THEN ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
        END
    ) AS timeline
FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r
