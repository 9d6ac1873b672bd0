-- The log as it was before the repair, with nothing dead left in its tables.
DELETE FROM ves_sequencer_receipts WHERE sequence_number > :base;
DELETE FROM ves_command_dedupe WHERE command_id IN (SELECT command_id FROM ves_events WHERE sequence_number > :base);
DELETE FROM entity_versions;
DELETE FROM ves_events WHERE sequence_number > :base;
UPDATE ves_sequence_counters SET current_sequence = :base;
VACUUM ves_sequencer_receipts;
VACUUM ves_command_dedupe;
VACUUM entity_versions;
VACUUM ves_sequence_counters;
VACUUM ves_events;
