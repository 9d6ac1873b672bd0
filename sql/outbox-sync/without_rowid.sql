-- Whether a table has no row numbers, by which rows are read and named.
SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ?1;
