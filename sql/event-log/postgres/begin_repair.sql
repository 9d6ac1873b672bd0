-- As the sequencer writes: each statement sees what was committed before it.
BEGIN TRANSACTION ISOLATION LEVEL READ COMMITTED READ WRITE;
-- Estimates of millions of rows would have each statement compiled first, which takes longer than most of them.
SET LOCAL jit = off;
-- A database without an encoding holds bytes. As they are, a row with some that are no text can be told by its place;
-- asked for UTF-8, the server would refuse the whole answer.
SELECT set_config(
    'client_encoding', CASE current_setting('server_encoding') WHEN 'SQL_ASCII' THEN 'SQL_ASCII' ELSE 'UTF8' END, true
)
