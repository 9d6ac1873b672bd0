-- Until the transaction ends this schema is searched first: the triggers of others find what they are used to find.
SELECT set_config('search_path', quote_ident($1) || ', ' || current_setting('search_path'), true)
