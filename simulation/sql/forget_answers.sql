UPDATE _ves_outbox SET sync_status = 'pending', remote_sequence = NULL, synced_at = NULL
WHERE sync_status = 'synced' AND local_seq > (SELECT max(local_seq) FROM _ves_outbox) - ?1;
