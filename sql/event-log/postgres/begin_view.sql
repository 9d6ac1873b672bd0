-- One consistent view of the database, in which nothing can be written.
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
-- Estimates of millions of rows would have each statement compiled first, which takes longer than most of them.
SET LOCAL jit = off
