-- Really at this number. Only if the row is still as it was when that was found out.
UPDATE _ves_outbox
   SET sync_status = 'synced', remote_sequence = ?1
 WHERE rowid = ?2 AND lower(event_id) = ?3 AND sync_status IS ?4 AND remote_sequence IS ?5;
