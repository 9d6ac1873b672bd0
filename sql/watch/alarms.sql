-- The alarms that were open at the end of the last look.
SELECT source, code, tenant_id, store_id, first, last, count, message, opened_at FROM alarms ORDER BY rowid
