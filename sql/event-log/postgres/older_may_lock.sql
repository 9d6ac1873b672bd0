-- Whether this role may lock rows of the older log's counters.
SELECT has_table_privilege('sequence_counters', 'UPDATE')::int4::int8 AS may
