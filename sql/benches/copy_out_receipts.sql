-- The receipts likewise.
COPY ves_sequencer_receipts TO STDOUT (FORMAT binary)
