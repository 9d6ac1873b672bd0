-- Rows of an older outbox by state: not acknowledged, acknowledged. It knows no other.
SELECT count(*) FILTER (WHERE acked_at IS NULL),
       count(*) FILTER (WHERE acked_at IS NOT NULL)
  FROM outbox;
