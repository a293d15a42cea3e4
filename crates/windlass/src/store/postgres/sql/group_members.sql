-- group_members.sql: the members of a group that have waited longest, up to so many bytes of payload; the first in any case.
-- in: $1 the group as job.member_of has it, $2 how many, $3 bytes    out: rows, the oldest first
WITH oldest AS (
    SELECT seq, pending_at, octet_length(payload) AS bytes FROM windlass.job
    WHERE state = 3 AND member_of = $1 ORDER BY pending_at, seq LIMIT $2
), summed AS (
    SELECT seq, pending_at, row_number() OVER waited AS n, sum(bytes) OVER waited AS bytes FROM oldest
    WINDOW waited AS (ORDER BY pending_at, seq)
)
SELECT record.* FROM summed JOIN windlass.record AS record ON record.seq = summed.seq
WHERE summed.n = 1 OR summed.bytes <= $3 ORDER BY summed.pending_at, summed.seq
