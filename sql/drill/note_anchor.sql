-- Where a batch was anchored.
UPDATE ves_commitments SET chain_id = $2, chain_tx_hash = $3, chain_block_number = $4, anchored_at = $5::text::timestamptz
WHERE batch_id = $1
