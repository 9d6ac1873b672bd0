-- Where a table's rows lie and how, a row for each of its columns in their order: the root page of the tree; whether the column is
-- another name of the row number; whether what SQL returns may differ from what the pages hold (generated columns, whole
-- numbers that come back as doubles, a column that takes the row number's name); and what stands for it in records that are
-- older than the column, as a serial type (NULL, 0 or 1; none for other defaults).
SELECT found.rootpage,
       col.pk > 0 AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk'),
       col.hidden <> 0
           OR col.type LIKE '%REAL%' OR col.type LIKE '%FLOA%' OR col.type LIKE '%DOUB%'
           OR col.name LIKE 'rowid',
       CASE WHEN col.dflt_value IS NULL THEN 0
            WHEN col.type = 'INTEGER' AND col.dflt_value = '0' THEN 8
            WHEN col.type = 'INTEGER' AND col.dflt_value = '1' THEN 9 END
  FROM pragma_table_list AS list, sqlite_schema AS found, pragma_table_xinfo(?1) AS col
 WHERE list.schema = 'main' AND list.name = ?1 AND list.type = 'table' AND list.wr = 0
   AND found.type = 'table' AND found.name = ?1
 ORDER BY col.cid;
