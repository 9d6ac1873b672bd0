-- Before the first query of a transaction: it is to see what the one sees that exported a view of this name (which follows).
SET TRANSACTION SNAPSHOT
