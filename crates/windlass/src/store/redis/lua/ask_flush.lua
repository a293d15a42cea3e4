-- ask_flush.lua: asks that those who wait in a group be flushed now.
-- ARGV: the group
-- returns: 1, or 0: there is no such group
local group = take()
local newest
local last = call('ZRANGE', P .. 'g:' .. group, -100, -1, 'WITHSCORES')
for number = 1, #last, 2 do
  local at = came_in(last[number], tonumber(last[number + 1]))
  if not newest or at > newest then newest = at end
end
if not newest then return 0 end
-- Members that came in by a clock that has been set back since count as there, too.
call('HSET', X .. 'asked', group, int(math.max(now, newest)))
return 1
