-- Has the server cancel what another session of ours is doing, and says what that was waiting for.
SELECT
    (SELECT a.wait_event::text FROM pg_catalog.pg_stat_activity a WHERE a.pid = $1) AS wait_event,
    pg_cancel_backend($1::int)::int AS cancelled
