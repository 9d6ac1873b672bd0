-- Keeps an alarm that is open.
INSERT INTO alarms (source, code, tenant_id, store_id, first, last, count, message, opened_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
