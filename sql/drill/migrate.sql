-- What the sequencer's migration 015 does to the tables.
ALTER TABLE agent_signing_keys ADD COLUMN key_algorithm int2 NOT NULL DEFAULT 1, ADD COLUMN public_key_bundle bytea,
    ADD COLUMN proof_of_possession bytea, ADD COLUMN proof_of_possession_bundle bytea;
CREATE INDEX idx_agent_keys_algorithm ON agent_signing_keys (tenant_id, key_algorithm);
ALTER TABLE ves_events ADD COLUMN agent_signature_scheme int2 NOT NULL DEFAULT 0, ADD COLUMN agent_signature_bundle bytea;
ALTER TABLE ves_sequencer_receipts ADD COLUMN receipt_signature_scheme int2 NOT NULL DEFAULT 0,
    ADD COLUMN receipt_signature_bundle bytea;
