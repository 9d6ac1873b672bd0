-- :count events in 100 streams without a hole, as fast as the server makes rows; only the numbers matter.
TRUNCATE ves_events CASCADE;
DROP INDEX idx_ves_events_entity;
ALTER TABLE ves_events
    DROP CONSTRAINT uq_ves_events_sequence,
    DROP CONSTRAINT ves_events_pkey CASCADE;
INSERT INTO ves_events
SELECT
    ('00000000-0000-0000-0001-' || lpad(to_hex(n), 12, '0'))::uuid, NULL, 1, '00000000-0000-0000-0000-000000000001',
    ('00000000-0000-0000-0000-' || lpad((n % 100)::text, 12, '0'))::uuid, '00000000-0000-0000-0000-000000000009', 1,
    'order', 'ORD', 'order.confirmed', t, 'now', t, 0, '{}', NULL, h, h, h, h || h, n / 100 + 1, NULL, 1, NULL
FROM generate_series(0, :count::int8 - 1) AS n, (VALUES (decode(repeat('00', 32), 'hex'), now())) AS same (h, t);
ALTER TABLE ves_events ADD CONSTRAINT uq_ves_events_sequence UNIQUE (tenant_id, store_id, sequence_number);
VACUUM ANALYZE ves_events;
