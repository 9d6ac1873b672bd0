-- For a new file that nobody else sees yet: fast.
PRAGMA trusted_schema = OFF;
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -131072;  -- 128 MiB: ids are random, and so are the pages of their indexes
PRAGMA foreign_keys = ON;
