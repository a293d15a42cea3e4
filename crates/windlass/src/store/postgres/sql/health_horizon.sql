-- health_horizon.sql: who keeps dead rows from being removed, those farthest back first: open transactions with a snapshot
-- or a number of their own, prepared transactions, and what copies of this server still read.
-- in: nothing    out: rows: kind (session, prepared, slot), name, what, how long (null: of a slot) and how many transactions have
--   begun since; none of sessions that this user may not see
-- why: only this database counts, but for copies, which hold up the whole server
SELECT kind, name, what, age_us, behind FROM (
    SELECT 'session' AS kind, a.pid::text AS name,
        concat_ws(', ', nullif(a.application_name, ''), 'user ' || a.usename, a.state) AS what,
        (extract(epoch FROM clock_timestamp() - a.xact_start) * 1000000)::bigint AS age_us,
        greatest(age(a.backend_xmin), age(a.backend_xid))::bigint AS behind
    FROM pg_stat_activity AS a
    WHERE (a.datname = current_database() OR a.backend_type = 'walsender') AND a.pid <> pg_backend_pid() AND a.backend_type <> 'autovacuum worker'
        AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
    UNION ALL
    SELECT 'prepared', p.gid, 'user ' || p.owner,
        (extract(epoch FROM clock_timestamp() - p.prepared) * 1000000)::bigint, age(p.transaction)::bigint
    FROM pg_prepared_xacts AS p WHERE p.database = current_database()
    UNION ALL
    SELECT 'slot', s.slot_name, CASE WHEN s.active THEN 'active' ELSE 'nobody reads it' END, NULL, age(s.xmin)::bigint
    FROM pg_replication_slots AS s WHERE s.xmin IS NOT NULL
) AS holder
ORDER BY behind DESC, age_us DESC NULLS LAST
