-- For a new file that nobody else sees yet: fast.
PRAGMA trusted_schema = OFF;
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA foreign_keys = ON;
