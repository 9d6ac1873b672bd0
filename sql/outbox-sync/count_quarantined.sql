SELECT count(*) FROM _ves_quarantined_events;
