-- For a new file that nobody else sees yet: fast, and copying also what a check would refuse.
PRAGMA trusted_schema = OFF;
PRAGMA journal_mode = MEMORY;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -131072;  -- 128 MiB: ids are random, and so are the pages of their indexes
PRAGMA foreign_keys = OFF;
PRAGMA ignore_check_constraints = ON;
