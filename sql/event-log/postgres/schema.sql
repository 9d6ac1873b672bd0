-- The columns of the named tables, as found by the search path of this session.
SELECT wanted.name, a.attname::text, format_type(a.atttypid, NULL)
FROM unnest($1::text[]) AS wanted (name)
JOIN pg_attribute a ON a.attrelid = to_regclass(quote_ident(wanted.name))
WHERE a.attnum > 0 AND NOT a.attisdropped
