-- What the agent believes about itself and its sequencer: claims, not facts.
SELECT key, value
  FROM sync_state
 WHERE key IN ('agent_id', 'tenant_id', 'store_id', 'last_pushed_sequence', 'last_pulled_sequence',
               'head_sequence', 'last_sync_at', 'recovery_epoch')
 ORDER BY key;
