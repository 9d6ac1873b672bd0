-- Compares an index with its table: every row of the table must be in it, and its order must be right.
SELECT bt_index_check(CAST($1::bigint AS oid), true)
