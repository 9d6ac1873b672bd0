-- What runs by itself or hides what it reads: a snapshot has none of it.
SELECT type, name FROM sqlite_schema WHERE type IN ('trigger', 'view') OR sql LIKE '%VIRTUAL TABLE%' ORDER BY name
