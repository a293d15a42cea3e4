-- servers.lua: the servers that have given a sign of life within a span; forgets those silent for a day.
-- KEYS[1]: `asynq:x:{store}:`    ARGV: the wall clock of a test or empty, the span in microseconds, 1: count the time
--   since the last time this was asked for (only sweeps ask)
-- returns: now, microseconds since then (0 at first), then pairs: seen at, description
local call = redis.call
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local function int(number) return string.format('%.0f', number) end
local elapsed = 0
if ARGV[3] == '1' then
  elapsed = math.max(0, now - tonumber(call('HGET', KEYS[1] .. 'pulse', 'swept') or now))
  call('HSET', KEYS[1] .. 'pulse', 'swept', int(now))
end
local answer, all = { int(now), int(elapsed) }, call('HGETALL', KEYS[1] .. 'servers')
for at = 1, #all, 2 do
  local seen, description = all[at + 1]:match('^(%d+) (.*)$')
  if now - tonumber(seen) > 86400000000 then
    call('HDEL', KEYS[1] .. 'servers', all[at])
  elseif now - tonumber(seen) <= tonumber(ARGV[2]) then
    answer[#answer + 1] = seen
    answer[#answer + 1] = description
  end
end
return answer
