-- What waits on a line, for a message.
SELECT event_id, sequence_number FROM pg_temp.stage_ves_sequencer_receipts WHERE line = $1
