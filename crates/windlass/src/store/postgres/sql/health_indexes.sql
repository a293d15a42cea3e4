-- health_indexes.sql: the indexes of our tables, whether they are whole, and what they take.
-- in: nothing    out: a row an index
SELECT i.relname AS name, x.indisvalid AND x.indisready AS valid, pg_relation_size(i.oid) AS bytes,
    greatest(t.reltuples, 0)::bigint + coalesce(s.n_dead_tup, 0) AS rows
FROM pg_index AS x
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_class AS t ON t.oid = x.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
LEFT JOIN pg_stat_all_tables AS s ON s.relid = t.oid
WHERE n.nspname = split_part('windlass.', '.', 1)
ORDER BY i.relname
