-- How long this transaction waits for a lock (SET LOCAL takes no parameters).
SELECT set_config('lock_timeout', $1, true)
