-- members.lua: who stands in a group. Needs core.lua.

-- When a member of a group came in. Go notes the second, as the score.
local function came_in(id, score)
  local f = call('HMGET', task(id), 'x:p', 'x:c')
  return tonumber(f[1] or f[2] or score * 1000000)
end

-- The members of a group that have waited longest, the oldest first: {id, when it came, its place}. Of those that stand
-- first by the second, which is Asynq's order, and then by id; the ids that we make rise with time.
local function oldest_members(group, limit)
  local found = {}
  local first = call('ZRANGE', P .. 'g:' .. group, 0, 499, 'WITHSCORES')
  for at = 1, #first, 2 do
    local id = first[at]
    local place = tonumber(call('HGET', task(id), 'x:n') or 0)
    found[#found + 1] = { id = id, at = came_in(id, tonumber(first[at + 1])), place = place }
  end
  table.sort(found, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.place < b.place
  end)
  while #found > limit do
    found[#found] = nil
  end
  return found
end
