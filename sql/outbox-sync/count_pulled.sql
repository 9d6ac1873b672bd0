SELECT count(*) FROM _ves_pulled_events;
