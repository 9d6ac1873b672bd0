-- Ends a transaction, keeping what it wrote.
COMMIT
