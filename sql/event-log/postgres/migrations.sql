-- What the sequencer's migrator ran, and whether it came to an end.
SELECT version, success::int4 FROM _sqlx_migrations
