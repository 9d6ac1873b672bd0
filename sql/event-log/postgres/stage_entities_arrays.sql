-- Entities as they arrive: one array a column, in one message.
INSERT INTO pg_temp.stage_entities (entity_type, entity_id)
SELECT entity_type, entity_id
FROM unnest($1::text[], $2::text[]) AS given (entity_type, entity_id)
