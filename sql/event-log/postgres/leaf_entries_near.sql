-- As entries_near.sql, to the letter but for the columns: of each event what its leaf is made of.
WITH ends AS MATERIALIZED (
    (
        SELECT event_id
        FROM ves_events
        WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4
        ORDER BY sequence_number
        LIMIT 1
    )
    UNION ALL
    (
        SELECT event_id
        FROM ves_events
        WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4
        ORDER BY sequence_number DESC
        LIMIT 1
    )
), blocks AS MATERIALIZED (
    -- Writers that work side by side fill blocks side by side.
    SELECT GREATEST(MIN(block) - 8, 0) AS first, MAX(block) + 8 AS last, MAX(block) - MIN(block) <= $5 AND COUNT(*) = 2 AS near
    FROM (
        -- A row's place has no other way to its parts.
        SELECT (r.ctid::text::point)[0]::bigint AS block
        FROM ends
        JOIN ves_sequencer_receipts r ON r.event_id = ends.event_id
    ) AS there
)
(
    SELECT
        NULL, NULL, NULL, NULL, r.event_id, r.sequencer_id, r.sequence_number, r.sequenced_at, r.receipt_hash,
        r.sequencer_signature, r.sequencer_key_version, r.receipt_signature_scheme, r.receipt_signature_bundle
    FROM ves_sequencer_receipts r
    WHERE (SELECT near FROM blocks)
        AND r.ctid >= (SELECT format('(%s,0)', first)::tid FROM blocks)
        AND r.ctid < (SELECT format('(%s,0)', LEAST(last + 1, 4294967294))::tid FROM blocks)
)
UNION ALL
(
    SELECT
        e.event_id, e.event_signing_hash, e.agent_signature, e.sequence_number, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        NULL, NULL
    FROM ves_events e
    WHERE e.tenant_id = $1 AND e.store_id = $2 AND e.sequence_number BETWEEN $3 AND $4 AND (SELECT near FROM blocks)
    ORDER BY e.sequence_number
)
