-- Whether the function that compares an index with its table can be called by its plain name, and by this role.
SELECT COUNT(*)
FROM pg_extension e
JOIN pg_depend d ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.classid = 'pg_proc'::regclass
JOIN pg_proc p ON p.oid = d.objid
WHERE e.extname = 'amcheck' AND p.oid = to_regprocedure('bt_index_check(regclass,boolean)')
    AND has_function_privilege(p.oid, 'EXECUTE')
