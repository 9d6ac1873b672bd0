-- After how many milliseconds of waiting this server looks for a deadlock.
SELECT setting::bigint FROM pg_settings WHERE name = 'deadlock_timeout'
