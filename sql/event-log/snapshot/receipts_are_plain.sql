-- A row if an event can have one receipt at most, texts are compared by their bytes, and rows have ids of their own.
SELECT 1
FROM sqlite_schema
WHERE type = 'table' AND name = 'ves_sequencer_receipts'
    AND sql NOT LIKE '%collate%' AND sql NOT LIKE '%rowid%'
    AND EXISTS (
        SELECT 1
        FROM pragma_index_list('ves_sequencer_receipts') AS l
        WHERE l."unique" = 1 AND l.partial = 0
            AND (SELECT group_concat(i.name) FROM pragma_index_info(l.name) AS i) = 'event_id'
    )
