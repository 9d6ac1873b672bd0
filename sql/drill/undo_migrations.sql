-- Makes the tables those of a sequencer that has run its first 14 migrations.
ALTER TABLE agent_signing_keys DROP COLUMN key_algorithm, DROP COLUMN public_key_bundle, DROP COLUMN proof_of_possession,
    DROP COLUMN proof_of_possession_bundle;
ALTER TABLE ves_events DROP COLUMN agent_signature_scheme, DROP COLUMN agent_signature_bundle;
ALTER TABLE ves_sequencer_receipts DROP COLUMN receipt_signature_scheme, DROP COLUMN receipt_signature_bundle;
