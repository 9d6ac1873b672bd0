-- What arrived is where it belongs: room for the next group.
RELEASE SAVEPOINT before_group;
TRUNCATE pg_temp.stage_ves_sequencer_receipts;
