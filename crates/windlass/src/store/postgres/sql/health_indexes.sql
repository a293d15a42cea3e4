-- health_indexes.sql: the indexes of our tables, whether they are whole, what they take, and whether somebody uses them.
-- in: nothing    out: a row an index; apart: it stands for itself, neither for a constraint nor for one of a partitioned table
SELECT i.relname AS name, t.relname AS of_table, x.indisvalid AND x.indisready AS valid, pg_relation_size(i.oid) AS bytes,
    greatest(t.reltuples, 0)::bigint + coalesce(s.n_dead_tup, 0) AS rows,
    coalesce(pg_stat_get_numscans(i.oid), 0) AS scans,
    NOT i.relispartition AND NOT EXISTS (SELECT 1 FROM pg_constraint AS c WHERE c.conindid = i.oid) AS apart
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
LEFT JOIN pg_stat_all_tables AS s ON s.relid = t.oid
WHERE n.nspname = split_part('windlass.', '.', 1)
ORDER BY i.relname
