-- How long the transaction of a watch is open that began first, in seconds.
SELECT COALESCE(max(extract(epoch FROM clock_timestamp() - xact_start)), 0)::float8
FROM pg_stat_activity WHERE application_name LIKE 'ves-toolkit%'
