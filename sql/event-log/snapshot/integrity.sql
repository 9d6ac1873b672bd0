-- What SQLite finds wrong with a table and its indexes.
SELECT integrity_check FROM pragma_integrity_check($1)
