-- How many there are decides whether each is looked up or the log is read once.
ANALYZE pg_temp.stage_entities
