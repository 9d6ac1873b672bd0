-- What a repair leaves in the tables that it writes.
SELECT
    (SELECT md5(string_agg(md5(e::text), '' ORDER BY event_id)) FROM ves_events e),
    (SELECT md5(string_agg(md5(r::text), '' ORDER BY event_id)) FROM ves_sequencer_receipts r),
    (SELECT md5(string_agg(md5(d::text), '' ORDER BY command_id)) FROM ves_command_dedupe d),
    (SELECT md5(string_agg(entity_type || entity_id || version, ',' ORDER BY entity_type, entity_id)) FROM entity_versions),
    (SELECT md5(string_agg(current_sequence::text, ',')) FROM ves_sequence_counters)
