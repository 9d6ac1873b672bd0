DELETE FROM ves_sequencer_receipts WHERE sequence_number > (
    SELECT max(o.sequence_number) - ?1 FROM ves_events AS o JOIN ves_events AS e USING (tenant_id, store_id)
    WHERE e.event_id = ves_sequencer_receipts.event_id
);
DELETE FROM ves_events WHERE event_id NOT IN (SELECT event_id FROM ves_sequencer_receipts) AND ?1 >= 0;
