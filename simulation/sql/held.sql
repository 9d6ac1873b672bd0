SELECT event_id FROM _ves_outbox;
