-- The server's time, as a recovery target.
SELECT clock_timestamp()::text
