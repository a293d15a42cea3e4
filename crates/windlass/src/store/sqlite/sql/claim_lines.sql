-- claim_lines.sql: the lines in which a job is pending, suspects among them.
-- in: nothing    out: line, in no order that matters
-- why: each step seeks the next line in a partial index, so what it costs is the number of lines with jobs, however
-- many jobs stand in them and however many lines the store has ever seen
WITH RECURSIVE
    ready (line) AS (
        SELECT (SELECT line FROM windlass_job WHERE state = 0 AND suspect = 0 ORDER BY line LIMIT 1)
        UNION ALL
        SELECT (SELECT line FROM windlass_job WHERE state = 0 AND suspect = 0 AND line > ready.line ORDER BY line LIMIT 1)
        FROM ready WHERE ready.line IS NOT NULL
    ),
    suspected (line) AS (
        SELECT (SELECT line FROM windlass_job WHERE state = 0 AND suspect = 1 ORDER BY line LIMIT 1)
        UNION ALL
        SELECT (SELECT line FROM windlass_job WHERE state = 0 AND suspect = 1 AND line > suspected.line ORDER BY line LIMIT 1)
        FROM suspected WHERE suspected.line IS NOT NULL
    )
SELECT line FROM ready WHERE line IS NOT NULL
UNION
SELECT line FROM suspected WHERE line IS NOT NULL
