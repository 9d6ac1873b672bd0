-- The settings that this transaction needs, whatever the role, the database or the server set: within the transaction
-- alone, since a pooler may hand the connection to others afterwards.
-- Rows that a policy hides must be an error: they would be called lost.
SET LOCAL row_security = off;
SET LOCAL statement_timeout = 0;
SET LOCAL lock_timeout = 0;
SET LOCAL idle_in_transaction_session_timeout = 0;
-- A database without an encoding holds bytes. As they are, a row with some that are no text can be told by its place; asked
-- for UTF-8, the server would refuse the whole answer.
SELECT set_config(
    'client_encoding', CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, true
);
SET LOCAL DateStyle = 'ISO, MDY';
SET LOCAL IntervalStyle = 'iso_8601';
SET LOCAL TimeZone = 'UTC';
SET LOCAL bytea_output = 'hex';
SET LOCAL extra_float_digits = 3;
SET LOCAL standard_conforming_strings = on;
SET LOCAL transform_null_equals = off;
SET LOCAL array_nulls = on;
-- Estimates of millions of rows would have each statement compiled first, which takes longer than most of them.
SET LOCAL jit = off;
-- Nobody's function may stand in for one of the server's own.
SELECT set_config('search_path', 'pg_catalog, ' || current_setting('search_path'), true)
WHERE current_setting('search_path') ~ ',[[:space:]]*"?pg_catalog"?[[:space:]]*(,|$)';
-- What newer servers have. A server notices within seconds that we are gone, where its system can tell, and lets go of our
-- locks.
SELECT set_config(name, value, true)
FROM (VALUES
    ('transaction_timeout', '0', true),
    ('idle_session_timeout', '0', true),
    ('client_connection_check_interval', '2s', version() LIKE '%linux%')) AS newer (name, value, possible)
WHERE possible AND current_setting(name, true) IS NOT NULL;
-- What is told as committed must survive a crash.
SELECT set_config('synchronous_commit', 'local', true) WHERE current_setting('synchronous_commit') = 'off'
