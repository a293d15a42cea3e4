-- groups.lua: groups of one queue as they stand. Reads only.
-- ARGV: how many names (at most 100), the names
-- returns: now, then for each name {size (at most 1000), when its oldest and its newest member came in, 1: asked to be
--   flushed}, or 0 if nobody waits in it
-- why: Asynq's score is whole seconds, so the ends are looked for among the hundred at each end.
local answer = { int(now) }
local function came(id)
  return tonumber(call('HGET', task(id), 'x:p') or (call('HGET', task(id), 'x:c') or now))
end
for _ = 1, tonumber(take()) do
  local group = take()
  local set = P .. 'g:' .. group
  local size = call('ZCARD', set)
  if size == 0 then
    answer[#answer + 1] = 0
  else
    local oldest, newest
    for _, id in ipairs(call('ZRANGE', set, 0, 99)) do
      local at = came(id)
      if not oldest or at < oldest then oldest = at end
    end
    for _, id in ipairs(call('ZRANGE', set, -100, -1)) do
      local at = came(id)
      if not newest or at > newest then newest = at end
    end
    local asked = call('HGET', X .. 'asked', group)
    answer[#answer + 1] = { math.min(size, 1000), int(oldest), int(newest), asked and tonumber(asked) >= oldest and 1 or 0 }
  end
end
return answer
