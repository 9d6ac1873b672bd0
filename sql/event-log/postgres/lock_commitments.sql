-- From here on nobody else can refer to these commitments.
SELECT batch_id FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2 AND batch_id = ANY ($3) FOR UPDATE
