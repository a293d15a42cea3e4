-- due_places.sql: the places (line * 256 - priority) in which jobs wait for their time, and when the first is due.
-- in: nothing    out: place, run_at
-- why: each step seeks the next place, so what it costs is the number of places, however many jobs wait in them
WITH RECURSIVE waiting (place) AS (
    SELECT (SELECT line * 256 - priority FROM windlass_job WHERE state IN (1, 5) ORDER BY line * 256 - priority LIMIT 1)
    UNION ALL
    SELECT (SELECT line * 256 - priority FROM windlass_job WHERE state IN (1, 5)
        AND line * 256 - priority > waiting.place ORDER BY line * 256 - priority LIMIT 1)
    FROM waiting WHERE waiting.place IS NOT NULL
)
SELECT place, (SELECT run_at FROM windlass_job WHERE state IN (1, 5) AND line * 256 - priority = waiting.place
    ORDER BY run_at LIMIT 1)
FROM waiting WHERE place IS NOT NULL
