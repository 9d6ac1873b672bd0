-- Settings of the connection that sets an outbox right. Nothing that came with the file may run.
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
PRAGMA synchronous = FULL;
