-- Ends the segment of the WAL that is written, so that it is archived; the segment's name.
SELECT pg_walfile_name(pg_switch_wal())
