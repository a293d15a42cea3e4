-- census.lua: how many jobs of one queue are in each state. Reads only; its cost grows with kinds, not with jobs.
-- returns: {now, removed, paused, then by state's code 0 to 8}, when the oldest pending job came in (-1: none is), 1: there
--   are too many lines to add them up here, 1: too many groups (see sizes.lua)
local NAMES, looks = 100, 200
local oldest
local function look(id)
  if not id or looks == 0 or redis.pcall('HEXISTS', task(id), 'x:gone') ~= 0 then return end
  looks = looks - 1
  local since = came_at(id)
  if not oldest or since < oldest then oldest = since end
end

local function in_lines(prefix, set)
  local sum = 0
  for _, kind in ipairs(call('SMEMBERS', X .. set)) do
    local line = X .. prefix .. kind
    sum = sum + call('ZCARD', line)
    local step = call('ZRANGE', line, 0, 0, 'WITHSCORES')
    while step[1] and looks > 0 do
      -- Of each priority the first that came in at the end, and the first that was put in front.
      local middle = math.floor((tonumber(step[2]) + STEP / 2) / STEP) * STEP
      look(call('ZRANGEBYSCORE', line, int(middle), int(middle + STEP / 2), 'LIMIT', 0, 1)[1])
      look(call('ZREVRANGEBYSCORE', line, '(' .. int(middle), int(middle - STEP / 2), 'LIMIT', 0, 1)[1])
      step = call('ZRANGEBYSCORE', line, '(' .. int(middle + STEP / 2), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    end
  end
  return sum
end

-- Those that were put in front stand at the right end, before the oldest of the others.
for _, id in ipairs(call('LRANGE', P .. 'pending', -100, -1)) do
  look(id)
end
local many_lines = call('SCARD', X .. 'lines') + call('SCARD', X .. 'suspects') > NAMES
local lines = many_lines and 0 or in_lines('line:', 'lines') + in_lines('suspect:', 'suspects')
-- What was taken out of a long list is only marked there: see marks.lua.
local ended, removed = call('ZCARD', X .. 'cancelled'), call('ZCARD', X .. 'deleted')
local standing = math.max(0, call('LLEN', P .. 'pending') - ended - removed)
local grouped, many_groups = 0, call('SCARD', P .. 'groups') > NAMES
for _, group in ipairs(many_groups and {} or call('SMEMBERS', P .. 'groups')) do
  grouped = grouped + call('ZCARD', P .. 'g:' .. group)
end
local cancelled = call('ZCARD', X .. 'ended:8')
return {
  int(now), call('HGET', X .. 'q', 'removed') or '0', call('EXISTS', P .. 'paused'),
  standing + lines, call('ZCARD', P .. 'scheduled'), call('ZCARD', P .. 'x:blocked'), grouped,
  call('LLEN', P .. 'active'), call('ZCARD', P .. 'retry'), call('ZCARD', P .. 'completed'),
  math.max(0, call('ZCARD', P .. 'archived') + call('ZCARD', P .. 'x:dead') + ended - cancelled), cancelled,
  oldest and int(oldest) or '-1', many_lines and 1 or 0, many_groups and 1 or 0,
}
