UPDATE ves_events SET sequence_number = CASE sequence_number WHEN -?3 THEN ?4 ELSE ?3 END
WHERE tenant_id = ?1 AND store_id = ?2 AND sequence_number IN (-?3, -?4);
