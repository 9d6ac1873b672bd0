-- What a row says now.
SELECT sync_status, remote_sequence FROM _ves_outbox WHERE rowid = ?1;
