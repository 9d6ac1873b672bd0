-- Whether an index makes sure that no number is there twice in a stream: then counting tells whether one is missing.
SELECT COUNT(*)
FROM pragma_index_list('ves_events') AS i
WHERE i."unique" = 1 AND i.partial = 0 AND (
    SELECT group_concat(name) FROM (SELECT c.name FROM pragma_index_info(i.name) AS c ORDER BY c.name)
) = 'sequence_number,store_id,tenant_id'
