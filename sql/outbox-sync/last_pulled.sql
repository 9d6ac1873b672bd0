-- The last row: with the first, what there is to divide among threads.
SELECT max(rowid) FROM _ves_pulled_events;
