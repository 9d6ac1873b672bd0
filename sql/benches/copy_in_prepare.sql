-- Empty tables as the log's are, with their indexes, for the rows that a repair writes.
DROP SCHEMA IF EXISTS beside CASCADE;
CREATE SCHEMA beside;
CREATE TABLE beside.ves_events (LIKE ves_events INCLUDING ALL);
CREATE TABLE beside.ves_sequencer_receipts (LIKE ves_sequencer_receipts INCLUDING ALL);
CREATE TABLE beside.ves_command_dedupe (LIKE ves_command_dedupe INCLUDING ALL);
