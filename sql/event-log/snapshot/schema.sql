-- The columns of one table, with their types, and whether the table holds only values of those types.
SELECT t.name, c.name, c.type, t.strict, c.hidden
FROM pragma_table_list($1) AS t
JOIN pragma_table_xinfo($1) AS c
WHERE t.schema = 'main' AND t.type = 'table'
