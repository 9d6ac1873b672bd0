-- Rows of the outbox by state. Each row is in one of the five.
SELECT count(*) FILTER (WHERE sync_status = 'pending'),
       count(*) FILTER (WHERE sync_status = 'synced'),
       count(*) FILTER (WHERE sync_status = 'failed'),
       count(*) FILTER (WHERE sync_status = 'rejected'),
       count(*) FILTER (WHERE sync_status IS NULL
                           OR sync_status NOT IN ('pending', 'synced', 'failed', 'rejected'))
  FROM _ves_outbox;
