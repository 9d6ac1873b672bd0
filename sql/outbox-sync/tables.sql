-- Which of the tables that an outbox can have are there. Real tables only: a view or virtual table of that name
-- would run code that came with the file.
SELECT name
  FROM pragma_table_list
 WHERE schema = 'main'
   AND type = 'table'
   AND name IN ('_ves_outbox', '_ves_pulled_events', '_ves_quarantined_events', '_ves_receive_failures',
                '_ves_sync_state', '_ves_peer_keys', '_ves_set_aside_events', 'outbox', 'pulled_events',
                'sync_state')
 ORDER BY name;
