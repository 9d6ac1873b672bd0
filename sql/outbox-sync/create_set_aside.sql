-- Where pulled rows go that the log does not have: nothing is thrown away.
CREATE TABLE IF NOT EXISTS _ves_set_aside_events AS
SELECT *, '' AS set_aside_at, '' AS set_aside_why FROM _ves_pulled_events WHERE 0;
