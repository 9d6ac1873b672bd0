-- Who made the events of an outbox that does not say whose it is, and which was the first: the shape before VES outboxes.
SELECT min(source_agent), max(source_agent), (SELECT event_id FROM outbox ORDER BY rowid LIMIT 1) FROM outbox;
