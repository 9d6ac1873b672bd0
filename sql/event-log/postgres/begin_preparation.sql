-- One consistent view of the log, beside which rows arrive in temporary tables: nothing of the log is locked.
BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ WRITE;
-- Estimates of millions of rows would have each statement compiled first, which takes longer than most of them.
SET LOCAL jit = off
