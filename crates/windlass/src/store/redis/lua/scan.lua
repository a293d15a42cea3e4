-- scan.lua: a stretch of the jobs of one queue that are not at their end, with their kinds. Reads only.
-- ARGV: which container (list: pending; active; scheduled; retry; or a line: kind), its kind for a line, from which
--   rank, how many (at most 500)
-- returns: triples of id, kind, when it came into line
local container, kind_of_line, from, many = take(), take(), tonumber(take()), tonumber(take())
local ids
if container == 'pending' or container == 'active' then
  ids = call('LRANGE', P .. container, -from - many, -from - 1)
elseif container == 'line' or container == 'suspect' then
  ids = call('ZRANGE', X .. container .. ':' .. kind_of_line, from, from + many - 1)
else
  ids = call('ZRANGE', P .. container, from, from + many - 1)
end
local answer = {}
for at = #ids, 1, -1 do
  -- One that was taken out of the list and is only marked there is of no kind.
  local f = call('HMGET', task(ids[at]), 'msg', 'x:gone')
  local kind = f[2] and '' or kind_in(f[1] or '')
  answer[#answer + 1] = ids[at]
  answer[#answer + 1] = kind
  answer[#answer + 1] = int(came_at(ids[at]))
end
return answer
