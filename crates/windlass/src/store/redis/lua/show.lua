-- show.lua: what a server says of itself and of what it runs, for the eyes of Asynq's tools.
-- KEYS[1]: `asynq:servers:{host:pid:id}`, its record
-- ARGV: that record, how many seconds the records live, `asynq:workers:{host:pid:id}` (in the same slot), then id and
--   record of each run (at most 100)
-- returns: 1
-- guarantee: what does not run any more is not shown.
local call, workers = redis.call, ARGV[3]
call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
call('DEL', workers)
for at = 4, #ARGV, 2 do
  call('HSET', workers, ARGV[at], ARGV[at + 1])
end
call('EXPIRE', workers, ARGV[2])
return 1
