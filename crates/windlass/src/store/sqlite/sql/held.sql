-- held.sql: what is lost when the tables are taken away.
-- in: ?1 since when a server must have given a sign of life    out: jobs, servers
SELECT (SELECT count(*) FROM windlass_job), (SELECT count(*) FROM windlass_server WHERE seen_at > ?1)
