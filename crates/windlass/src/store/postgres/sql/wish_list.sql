-- wish_list.sql: the wishes past a number.
-- in: $1 number    out: number, id, fence, reason
SELECT number, id, fence, reason FROM windlass.wish WHERE number > $1 ORDER BY number LIMIT 1000
