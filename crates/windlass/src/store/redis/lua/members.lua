-- members.lua: what waits in a group, the oldest first. Reads only.
-- ARGV: the group, how many at most (at most 500), the most bytes of their messages (the first one comes in any case)
-- returns: triples of message, options, version
local group, limit, room = take(), tonumber(take()), tonumber(take())
local answer, bytes = {}, 0
for number, member in ipairs(oldest_members(group, limit)) do
  local f = call('HMGET', task(member.id), 'msg', 'x:o', 'x:v')
  if f[1] then
    fields(f[1], function(field, wire, first, last, value)
      if field == 2 and wire == 2 then bytes = bytes + last - value + 1 end
    end)
    if bytes > room and number > 1 then break end
    answer[#answer + 1] = f[1]
    answer[#answer + 1] = f[2] or ''
    answer[#answer + 1] = f[3] or '0'
  end
end
return answer
