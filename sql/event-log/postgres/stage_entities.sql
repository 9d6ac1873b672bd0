-- Where the entities arrive whose versions are to be raised. Gone with the transaction.
DROP TABLE IF EXISTS pg_temp.stage_entities;
CREATE TEMPORARY TABLE stage_entities (entity_type text, entity_id text) ON COMMIT DROP;
