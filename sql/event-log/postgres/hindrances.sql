-- What a write to the tables $1 will meet that their owner did not foresee for us. $2 are the columns that we know there
-- (table.column); $3 and $4 the tables and the privileges that are needed on them.
WITH written AS (
    SELECT c.oid, c.relname::text AS name, c.relkind
    FROM pg_class c
    WHERE c.oid = ANY (SELECT to_regclass(quote_ident(wanted.name)) FROM unnest($1::text[]) AS wanted (name))
), columns AS (
    SELECT w.name AS relation, a.attname::text AS name, format_type(a.atttypid, a.atttypmod) AS type,
        a.attnotnull OR t.typnotnull AS required, a.atthasdef OR t.typdefault IS NOT NULL AS filled,
        a.attidentity <> '' AS identity, a.attgenerated <> '' OR a.attidentity = 'a' AS generated,
        w.name || '.' || a.attname = ANY ($2) AS known, w.oid, a.attnum
    FROM written w
    JOIN pg_attribute a ON a.attrelid = w.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_type t ON t.oid = a.atttypid
)
SELECT 'table', name, CASE relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' ELSE 'foreign table' END, NULL
FROM written WHERE relkind NOT IN ('r', 'p')
UNION ALL
SELECT 'column', relation, name, type FROM columns WHERE NOT known AND required AND NOT filled AND NOT identity
UNION ALL
SELECT 'generated', relation, name, type FROM columns WHERE known AND generated
UNION ALL
SELECT 'trigger', w.name, t.tgname::text, pg_get_triggerdef(t.oid, true)
FROM written w
JOIN pg_trigger t ON t.tgrelid = w.oid
-- For rows that are inserted (4), deleted (8) or updated (16), and not switched off for sessions like this.
WHERE NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') AND t.tgtype & 28 <> 0
UNION ALL
SELECT 'rule', w.name, r.rulename::text, pg_get_ruledef(r.oid, true)
FROM written w
JOIN pg_rewrite r ON r.ev_class = w.oid
WHERE r.rulename <> '_RETURN' AND r.ev_enabled IN ('O', 'A')
UNION ALL
SELECT 'row security', name, current_user::text, NULL FROM written WHERE row_security_active(oid)
UNION ALL
SELECT 'right', w.name, needed.privilege, current_user::text
FROM written w
JOIN unnest($3::text[], $4::text[]) AS needed (name, privilege) ON needed.name = w.name
WHERE NOT has_table_privilege(w.oid, needed.privilege) AND (needed.privilege = 'DELETE' OR EXISTS (
    SELECT FROM columns c
    WHERE c.oid = w.oid AND c.known AND NOT has_column_privilege(w.oid, c.attnum, needed.privilege)
))
UNION ALL
SELECT 'temporary', current_database()::text, 'TEMPORARY', current_user::text
WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
ORDER BY 1, 2, 3
