-- The columns of the journal if it is there, which whoever has the file may read and write.
SELECT c.name, c.type, t.strict, 1, 1
FROM pragma_table_list('sequencer_recovery_journal') AS t
JOIN pragma_table_xinfo('sequencer_recovery_journal') AS c
WHERE t.schema = 'main' AND t.type = 'table'
