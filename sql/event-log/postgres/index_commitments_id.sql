-- What an index on ves_commitments (batch_id)
-- holds, in its order: with every other way switched off, only such an index can answer.
SELECT
    uuid_hash_extended(batch_id, 0) AS key
FROM ves_commitments
ORDER BY batch_id
