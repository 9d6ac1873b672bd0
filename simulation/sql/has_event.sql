SELECT sequence_number FROM ves_events WHERE event_id = ?1;
