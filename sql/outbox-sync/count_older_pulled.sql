SELECT count(*) FROM pulled_events;
