-- The rows that a repair writes, by COPY into empty tables: nothing is looked at.
BEGIN;
COPY beside.ves_events FROM :'events' (FORMAT binary);
COPY beside.ves_sequencer_receipts FROM :'receipts' (FORMAT binary);
COPY beside.ves_command_dedupe FROM :'commands' (FORMAT binary);
COMMIT
