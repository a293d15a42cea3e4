-- health_counts.sql: how many jobs the counters say there are in each state, and how many there are.
-- in: $1 count no more rows than this    out: rows: state, counted, there (null: not counted)
-- guarantee: of one moment
-- why: jobs of a part of history that was taken out (days.sql) are in the counters until they are counted as removed
WITH counted AS (
    SELECT u.state - 1 AS state, sum(u.n)::bigint AS n
    FROM windlass.line_count AS l, unnest(l.by_state) WITH ORDINALITY AS u (n, state) GROUP BY u.state
), few AS (
    SELECT coalesce(sum(n), 0) <= $1 AND NOT EXISTS (SELECT 1 FROM windlass.day WHERE past IS NOT NULL) AS few FROM counted
), there AS (
    SELECT state, count(*) AS n
    FROM (SELECT state FROM windlass.job WHERE (SELECT few FROM few)
        UNION ALL SELECT state FROM windlass.history WHERE (SELECT few FROM few)) AS job GROUP BY state
)
SELECT s.state, coalesce(c.n, 0) AS counted, CASE WHEN few.few THEN coalesce(t.n, 0) END AS there
FROM generate_series(0, 8) AS s (state) CROSS JOIN few
LEFT JOIN counted AS c ON c.state = s.state LEFT JOIN there AS t ON t.state = s.state ORDER BY s.state
