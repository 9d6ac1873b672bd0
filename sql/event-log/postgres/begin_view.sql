-- One consistent view of the database, in which nothing can be written.
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY
