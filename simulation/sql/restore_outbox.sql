DELETE FROM _ves_outbox WHERE local_seq > (SELECT max(local_seq) FROM _ves_outbox) - ?1;
