-- An index answers, if one can: back to the savepoint before. Other processes count their scans for themselves.
SET LOCAL enable_seqscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_sort = off;
SET LOCAL enable_indexscan = on;
SET LOCAL enable_indexonlyscan = on;
SET LOCAL max_parallel_workers_per_gather = 0;
SET LOCAL enable_incremental_sort = off;
