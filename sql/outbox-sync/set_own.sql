-- States and numbers of the agent's own rows, as planned.
UPDATE _ves_outbox
   SET sync_status = p.to_status, remote_sequence = p.to_sequence
  FROM temp.planned_own AS p
 WHERE _ves_outbox.rowid = p.row;
