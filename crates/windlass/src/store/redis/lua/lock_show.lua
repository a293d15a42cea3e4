-- lock_show.lua: who holds a lock, and how many wait.
-- ARGV: the start of Redis, how many holders to name
-- returns: slots, how many hold it, how many wait, then of those who have held it longest: fence, since, time left, holder
-- why: writes nothing, so of another start it says what the next look gives the holders
local start, most = take(), tonumber(take())
local shown, held = {}, 0
local of_another = call('HGET', L, 'start') ~= start
for _, token in ipairs(call('ZRANGE', HELD, 0, 499)) do
  local record, left = lock_record(token), tonumber(call('ZSCORE', HELD, token)) - mono
  if record and of_another then left = math.max(left, record.ttl) end
  if record and left > 0 then
    held = held + 1
    record.left = left
    shown[held] = record
  end
end
table.sort(shown, function(one, two)
  if #one.fence ~= #two.fence then return #one.fence < #two.fence end
  return one.fence < two.fence
end)
local waiting = math.min(1000, call('ZCOUNT', WAITS, '(' .. int(mono), '+inf'))
local answer = { tonumber(call('HGET', L, 'slots') or 1), held, waiting }
for at = 1, math.min(most, held) do
  local one = shown[at]
  for _, value in ipairs({ one.fence, one.since, int(one.left), one.holder }) do
    answer[#answer + 1] = value
  end
end
return answer
