-- groups.lua: groups of one queue as they stand. Reads only.
-- ARGV: how many names (at most 45), the names
-- returns: now, then for each name {size (at most 500), when its oldest and its newest member came in, 1: asked to be
--   flushed}, or 0 if nobody waits in it
-- why: Asynq's score is whole seconds, and within one the ids stand in their own order, which for those that we make is
--   that of time; so the ends are looked for among the five at each end.
local answer = { int(now) }

local function ends(set)
  local oldest, newest
  local function look(found)
    for at = 1, #found, 2 do
      local moment = came_in(found[at], tonumber(found[at + 1]))
      oldest, newest = math.min(oldest or moment, moment), math.max(newest or moment, moment)
    end
  end
  look(call('ZRANGE', set, 0, 4, 'WITHSCORES'))
  look(call('ZRANGE', set, -5, -1, 'WITHSCORES'))
  return oldest, newest
end

for _ = 1, tonumber(take()) do
  local group = take()
  local set = P .. 'g:' .. group
  local size = call('ZCARD', set)
  if size == 0 then
    answer[#answer + 1] = 0
  else
    local oldest, newest = ends(set)
    local asked = call('HGET', X .. 'asked', group)
    answer[#answer + 1] = { math.min(size, 500), int(oldest), int(newest), asked and tonumber(asked) >= oldest and 1 or 0 }
  end
end
return answer
