DELETE FROM ves_commitments WHERE batch_id IN (
    SELECT batch_id FROM ves_commitments AS c
    WHERE ?1 > (
        SELECT count(*) FROM ves_commitments AS later
        WHERE later.tenant_id = c.tenant_id AND later.store_id = c.store_id
          AND later.sequence_start > c.sequence_start
    )
);
