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
  local f = call('HMGET', task(ids[at]), 'x:k', 'pending_since', 'x:p', 'x:c', 'x:gone')
  -- One that was taken out of the list and is only marked there is of no kind.
  local kind = f[5] and '' or f[1] or kind_in(call('HGET', task(ids[at]), 'msg') or '')
  answer[#answer + 1] = ids[at]
  answer[#answer + 1] = kind
  answer[#answer + 1] = int(pending_at(f[2], f[3], f[4]))
end
return answer
