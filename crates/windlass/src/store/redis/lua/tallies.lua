-- tallies.lua: the minute buckets of one queue. Reads only.
-- ARGV: the first minute, how many buckets at most (at most 30)
-- returns: the last minute that was read ('' at the end), then pairs: fields and values of the kinds', and of the
--   tenants' bucket
-- guarantee: a bucket is read whole, and no other one once they have more than FIELDS fields.
local FIELDS = 2000
local first, limit = take(), tonumber(take())
local minutes = call('ZRANGEBYSCORE', X .. 'minutes', first, '+inf', 'LIMIT', 0, limit)
local answer, fields = { '' }, 0
for at, minute in ipairs(minutes) do
  if fields > FIELDS then break end
  for _, family in ipairs({ 'tally:', 'tenants:' }) do
    local bucket = call('HGETALL', X .. family .. minute)
    fields = fields + #bucket / 2
    answer[#answer + 1] = bucket
  end
  answer[1] = (at < #minutes or #minutes == limit) and minute or ''
end
return answer
