-- Blocks of this database that the server has looked at, in its memory or on disk.
SELECT blks_hit + blks_read FROM pg_stat_database WHERE datname = current_database()
