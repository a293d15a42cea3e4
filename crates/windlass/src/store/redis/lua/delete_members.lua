-- delete_members.lua: removes what waits in a group, the oldest first.
-- ARGV: the group, how many at most (at most 500)
-- returns: how many were removed
local group, limit, removed = take(), tonumber(take()), 0
for _, member in ipairs(oldest_members(group, limit)) do
  leave(member.id, 'aggregating')
  remove(member.id)
  removed = removed + 1
end
if removed > 0 then wake() end
return removed
