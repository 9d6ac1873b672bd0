-- Ends a transaction, keeping nothing of it.
ROLLBACK
