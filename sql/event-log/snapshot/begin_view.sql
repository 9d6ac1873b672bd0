-- One consistent view: reading once takes the lock that keeps writers out.
BEGIN;
SELECT 1 FROM sqlite_schema LIMIT 1;
