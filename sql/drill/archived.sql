-- Whether a segment of the WAL, or a later one, was archived.
SELECT coalesce(max(last_archived_wal) >= $1, false) FROM pg_stat_archiver
