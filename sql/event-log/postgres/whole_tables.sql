-- Whole tables are read from here on, and joined and sorted as a whole: in more memory than a server gives to a statement where
-- nobody asks for it (4 MB).
SELECT set_config('work_mem', '64MB', true) WHERE pg_size_bytes(current_setting('work_mem')) < pg_size_bytes('64MB')
