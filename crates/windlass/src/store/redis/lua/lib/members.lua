-- members.lua: who stands in a group. Needs core.lua.

-- The members of a group that have waited longest, the oldest first: {id, when it came, its place}.
local function oldest_members(group, limit)
  local set, found, seen = P .. 'g:' .. group, {}, {}
  if limit < 1 then return found end
  local function note_member(id)
    if seen[id] then return end
    seen[id] = true
    local f = call('HMGET', task(id), 'x:p', 'x:c')
    local at, place = tonumber(f[1] or f[2] or now), tonumber(call('ZSCORE', X .. 'index', id) or 0)
    found[#found + 1] = { id = id, at = at, place = place }
  end
  local first = call('ZRANGE', set, 0, limit - 1, 'WITHSCORES')
  for at = 1, #first, 2 do
    note_member(first[at])
  end
  -- Those who came in the same second as the last one stand in no order.
  local last = first[#first]
  if last then
    for _, id in ipairs(call('ZRANGEBYSCORE', set, last, last, 'LIMIT', 0, 1000)) do
      note_member(id)
    end
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
