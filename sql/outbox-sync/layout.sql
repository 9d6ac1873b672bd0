-- Where a table's rows lie and how: the root page of its tree, how many columns it has, which of them is another name of the row
-- number, and whether anything makes what SQL returns differ from what the pages hold: generated columns, whole numbers
-- that come back as doubles, a column that takes the row number's name.
SELECT found.rootpage,
       count(*),
       max(CASE WHEN col.pk > 0 AND NOT EXISTS (SELECT 1 FROM pragma_index_list(?1) WHERE origin = 'pk')
                THEN col.cid END),
       max(col.hidden <> 0
           OR col.type LIKE '%REAL%' OR col.type LIKE '%FLOA%' OR col.type LIKE '%DOUB%'
           OR col.name LIKE 'rowid')
  FROM pragma_table_list AS list, sqlite_schema AS found, pragma_table_xinfo(?1) AS col
 WHERE list.schema = 'main' AND list.name = ?1 AND list.type = 'table' AND list.wr = 0
   AND found.type = 'table' AND found.name = ?1
 GROUP BY found.rootpage;
