-- tallies.lua: the minute buckets of one queue. Reads only.
-- ARGV: the first minute, how many buckets at most (at most 30)
-- returns: the last minute that was read ('' at the end), then pairs: fields and values of the kinds', and of the
--   tenants' bucket
local first, limit = take(), tonumber(take())
local minutes = call('ZRANGEBYSCORE', X .. 'minutes', first, '+inf', 'LIMIT', 0, limit)
local answer = { #minutes == limit and minutes[#minutes] or '' }
for _, minute in ipairs(minutes) do
  answer[#answer + 1] = call('HGETALL', X .. 'tally:' .. minute)
  answer[#answer + 1] = call('HGETALL', X .. 'tenants:' .. minute)
end
return answer
