-- Until the transaction ends only this schema is searched: a table that it lacks is not taken from another.
SELECT set_config('search_path', quote_ident($1), true)
