DELETE FROM ves_sequencer_receipts WHERE event_id IN (
    SELECT e.event_id FROM ves_events AS e
    WHERE e.sequence_number > (
        SELECT max(sequence_number) - ?1 FROM ves_events AS o
        WHERE o.tenant_id = e.tenant_id AND o.store_id = e.store_id
    )
);
