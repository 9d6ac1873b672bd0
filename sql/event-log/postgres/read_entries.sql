-- As read_savepoint.sql, for events with their receipts; read_rollback.sql takes the settings back.
SAVEPOINT reading;
-- Receipts are found by their events' ids, which are random: by its usual estimates the server would read all receipts for each
-- stream, and sort what it joined. But receipts of neighbouring events lie beside each other, and one process that follows an
-- index is faster than two whose rows are put in order.
SELECT set_config('random_page_cost', '1.1', true) WHERE current_setting('random_page_cost')::float8 > 1.1;
SET LOCAL enable_gathermerge = off;
-- Or they are read as they lie, from one row's place to another's: without this the whole table would be.
SET LOCAL enable_tidscan = on
