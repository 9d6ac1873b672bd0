-- Who gave the newest receipt of the log, and how.
SELECT sequencer_id, sequencer_key_version, receipt_signature_scheme
FROM ves_sequencer_receipts
ORDER BY sequenced_at DESC, event_id
LIMIT 1
