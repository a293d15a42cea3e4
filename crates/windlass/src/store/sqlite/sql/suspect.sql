-- suspect.sql: whether a job's next crash is its last.
-- in: ?1 seq    out: suspect
SELECT suspect FROM windlass_job WHERE seq = ?1
