-- health.sql: the room that the server has for us, and how far the ledger is added up.
-- in: nothing    out: one row
-- why: of the ledger as much is counted as says whether anybody adds it up
SELECT (SELECT max(version)::bigint FROM windlass.migration) AS schema_version,
    current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint AS connections,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
    current_setting('autovacuum') = 'on' AND current_setting('track_counts') = 'on' AS autovacuum,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
    (SELECT count(*) FROM (SELECT 1 FROM windlass.ledger LIMIT 200000) AS few) AS unfolded
