-- As the sequencer writes: each statement sees what was committed before it.
BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE
