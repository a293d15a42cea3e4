-- schedules.lua: schedules of one queue, by name. Reads only.
-- ARGV: where to begin, as ZRANGEBYLEX takes it; how many at most (at most 500); after how many bytes of texts to stop
-- returns: now, where to go on ('': that was the end), then name, version and text of each
local from, limit, room = take(), tonumber(take()), tonumber(take())
local answer, bytes = { int(now), '' }, 0
local names = call('ZRANGEBYLEX', X .. 'schedules', from, '+', 'LIMIT', 0, limit)
for number, name in ipairs(names) do
  local f = call('HMGET', X .. 'schedule:' .. name, 'revision', 'says')
  if f[1] then
    answer[#answer + 1] = name
    answer[#answer + 1] = f[1]
    answer[#answer + 1] = f[2]
    bytes = bytes + #f[2]
  end
  if bytes >= room or number == limit then
    answer[2] = '(' .. name
    break
  end
end
return answer
