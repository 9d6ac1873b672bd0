-- Entities as they arrive, in PostgreSQL's binary format.
COPY pg_temp.stage_entities (entity_type, entity_id) FROM STDIN (FORMAT binary)
