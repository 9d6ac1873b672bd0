-- The same again, as sql/schema/snapshot.sql has them.
CREATE INDEX ix_ves_events_entity ON ves_events (tenant_id, store_id, entity_type, entity_id);
CREATE INDEX ix_events_entity ON events (tenant_id, store_id, entity_type, entity_id);
