UPDATE ves_sequencer_receipts SET sequence_number = (
    SELECT e.sequence_number FROM ves_events AS e WHERE e.event_id = ves_sequencer_receipts.event_id
)
WHERE event_id IN (
    SELECT event_id FROM ves_events WHERE tenant_id = ?1 AND store_id = ?2 AND sequence_number IN (?3, ?4)
);
