-- How far a server in recovery has replayed.
SELECT
    pg_is_wal_replay_paused()::int AS paused,
    pg_last_wal_receive_lsn()::text AS received,
    pg_last_wal_replay_lsn()::text AS replayed,
    greatest(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)::bigint AS behind,
    pg_last_xact_replay_timestamp() AS last_commit
