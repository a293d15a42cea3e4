-- held.sql: what is lost when the tables are taken away.
-- in: $1 how long a server may be silent    out: one row
SELECT (SELECT count(*) FROM windlass.job) + (SELECT count(*) FROM windlass.history) AS jobs,
    (SELECT count(*) FROM windlass.server WHERE seen_at > windlass.now_micros() - $1) AS servers
