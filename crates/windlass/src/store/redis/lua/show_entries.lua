-- show_entries.lua: a list of our schedules as entries of a scheduler, for the eyes of Asynq's tools.
-- KEYS[1]: `asynq:schedulers:{windlass:0:schedules-0}` or another number
-- ARGV: how many seconds they live, then the entries (at most 200)
-- returns: 1
-- guarantee: what does not tick any more is not shown.
local call = redis.call
call('DEL', KEYS[1])
for at = 2, #ARGV, 100 do
  call('RPUSH', KEYS[1], unpack(ARGV, at, math.min(at + 99, #ARGV)))
end
call('EXPIRE', KEYS[1], ARGV[1])
return 1
