-- The file may be hostile: nothing in its schema is trusted, and what it holds is checked when read.
PRAGMA trusted_schema = OFF;
PRAGMA cell_size_check = ON;
PRAGMA foreign_keys = ON;
-- The first look into the file, which finds out whether it can be read.
SELECT 1 FROM sqlite_schema LIMIT 1;
