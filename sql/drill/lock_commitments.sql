-- What the sequencer holds while it makes a commitment of the stream.
SELECT pg_advisory_xact_lock($1)
