-- Takes the lost rows out of the database, into files of the server.
COPY lost_events TO :'events' (FORMAT binary);
COPY lost_receipts TO :'receipts' (FORMAT binary);
COPY lost_commands TO :'commands' (FORMAT binary);
DROP TABLE lost_events, lost_receipts, lost_commands;
VACUUM ANALYZE
