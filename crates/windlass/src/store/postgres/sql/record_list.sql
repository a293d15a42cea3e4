-- record_list.sql: a page of jobs.
-- in: $1 to $8 as list_jobs() takes them    out: rows; a page without jobs is one row without a number
SELECT page.next, (page.job).* FROM windlass.list_jobs($1, $2, $3, $4, $5, $6, $7, $8) AS page
