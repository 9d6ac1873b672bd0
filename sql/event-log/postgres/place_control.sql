-- Which cluster this is, and the timeline that it writes or replays.
SELECT
    s.system_identifier::text AS system_identifier,
    greatest(c.timeline_id, r.min_recovery_end_timeline) AS timeline
FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r
