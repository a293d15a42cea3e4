-- cancels.lua: the log of wishes to cancel; one for the whole store.
-- KEYS[1]: `asynq:x:{store}:`    ARGV[1]: `add` with id, fence and reason, or `read` with the number after which to read
--   (empty: only the last number)
-- returns: add: its number. read: the last number, then triples of id, fence, reason, oldest first
-- guarantee: numbers rise, also after everything was pruned; the newest 10,000 are kept, 500 are read at once.
local call, log, last = redis.call, KEYS[1] .. 'cancels', KEYS[1] .. 'cancels:last'
if ARGV[1] == 'add' then
  local number = call('INCR', last)
  call('ZADD', log, number, cmsgpack.pack({ number, ARGV[2], ARGV[3], ARGV[4] }))
  call('ZREMRANGEBYRANK', log, 0, -10001)
  return number
end
local newest = tonumber(call('GET', last) or 0)
if ARGV[2] == '' then return { newest } end
local found = call('ZRANGEBYSCORE', log, '(' .. ARGV[2], '+inf', 'LIMIT', 0, 500)
local answer = { newest }
for _, packed in ipairs(found) do
  local wish = cmsgpack.unpack(packed)
  if #found == 500 then answer[1] = wish[1] end
  for place = 2, 4 do
    answer[#answer + 1] = wish[place]
  end
end
return answer
