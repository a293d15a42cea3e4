-- beat.lua: a server says that it lives.
-- KEYS[1]: `asynq:x:{store}:`    ARGV: the wall clock of a test or empty, the server's id, its description
-- returns: now
local now = ARGV[1]
if now == '' then
  local time = redis.call('TIME')
  now = string.format('%.0f', time[1] * 1000000 + time[2])
end
redis.call('HSET', KEYS[1] .. 'servers', ARGV[2], now .. ' ' .. ARGV[3])
return now
