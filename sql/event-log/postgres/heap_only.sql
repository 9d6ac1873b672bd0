-- The tables themselves answer, and no index; to the end of the transaction, or back to the savepoint before.
SET LOCAL enable_indexscan = off;
SET LOCAL enable_indexonlyscan = off;
SET LOCAL enable_bitmapscan = off;
SET LOCAL enable_seqscan = on;
