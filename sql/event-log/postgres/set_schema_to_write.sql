-- Until the transaction ends this schema is searched before others (and PostgreSQL's own first, which nobody may stand in for):
SELECT set_config('search_path', 'pg_catalog, ' || quote_ident($1) || ', ' || current_setting('search_path'), true)
