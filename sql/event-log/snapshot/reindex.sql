-- In a private copy: every index is made again from its table.
REINDEX
