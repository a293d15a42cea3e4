-- health_tables.sql: the tables that are written all the time: rows, dead rows, and when somebody last removed those.
-- in: nothing    out: a row a table; partitions for themselves
SELECT s.relname AS name, s.n_live_tup AS live, s.n_dead_tup AS dead,
    (extract(epoch FROM clock_timestamp() - greatest(s.last_vacuum, s.last_autovacuum)) * 1000000)::bigint AS vacuumed_us,
    EXISTS (SELECT 1 FROM unnest(c.reloptions) AS o WHERE o ~ '^autovacuum_enabled=(false|off|no|0)$') AS switched_off
FROM pg_stat_all_tables AS s JOIN pg_class AS c ON c.oid = s.relid
WHERE s.schemaname = split_part('windlass.', '.', 1)
ORDER BY s.relname
