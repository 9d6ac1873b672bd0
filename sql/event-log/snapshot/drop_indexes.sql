-- The indexes of a new snapshot that no constraint needs.
DROP INDEX ix_ves_events_entity;
DROP INDEX ix_events_entity;
