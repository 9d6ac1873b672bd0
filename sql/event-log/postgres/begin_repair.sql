-- As the sequencer writes: each statement sees what was committed before it.
BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE;
-- Estimates of millions of rows would have each statement compiled first, which takes longer than most of them.
SET LOCAL jit = off
