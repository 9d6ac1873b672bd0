-- The columns of each index of a table that makes sure of something for every row.
SELECT (
    SELECT group_concat(name) FROM (SELECT c.name FROM pragma_index_info(i.name) AS c ORDER BY c.seqno)
)
FROM pragma_index_list($1) AS i
WHERE i."unique" = 1 AND i.partial = 0
