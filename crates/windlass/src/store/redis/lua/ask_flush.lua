-- ask_flush.lua: asks that those who wait in a group be flushed now.
-- ARGV: the group
-- returns: 1, or 0: there is no such group
local group = take()
local newest
for _, id in ipairs(call('ZRANGE', P .. 'g:' .. group, -100, -1)) do
  local at = tonumber(call('HGET', task(id), 'x:p') or now)
  if not newest or at > newest then newest = at end
end
if not newest then return 0 end
-- Members that came in by a clock that has been set back since count as there, too.
call('HSET', X .. 'asked', group, int(math.max(now, newest)))
return 1
