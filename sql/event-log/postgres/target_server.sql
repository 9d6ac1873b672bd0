-- Of which kind the server is, for target_session_attrs.
SELECT pg_is_in_recovery()::int AS in_recovery, (current_setting('transaction_read_only') = 'on')::int AS read_only
