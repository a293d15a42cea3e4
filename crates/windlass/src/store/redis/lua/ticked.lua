-- ticked.lua: the newest history lines of a schedule of this queue, newest first. Reads only.
-- ARGV: its name; before which number (0: any); how many at most (at most 500)
-- returns: the number of the first, then the lines; nothing of a schedule that is not there
local name, before, limit = take(), tonumber(take()), tonumber(take())
local last = tonumber(call('HGET', X .. 'schedule:' .. name, 'lines') or 0)
local first = before > 0 and math.min(before - 1, last) or last
local past = last - first
if limit < 1 then return {} end
local lines = call('LRANGE', X .. 'ticked:' .. name, -past - limit, -past - 1)
if #lines == 0 then return {} end
local answer = { int(first) }
for at = #lines, 1, -1 do
  answer[#answer + 1] = lines[at]
end
return answer
