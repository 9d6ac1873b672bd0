-- Settings of the connection to the private copy of an outbox. The file comes from others, so nothing in it may
-- run: functions in its schema are not trusted, and its tables cannot be written.
-- CHECK constraints are left to the row reader, which names the row; quick_check is to speak of damage alone.
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
PRAGMA ignore_check_constraints = ON;
PRAGMA query_only = ON;
