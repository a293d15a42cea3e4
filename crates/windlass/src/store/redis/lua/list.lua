-- list.lua: ids of one queue's jobs in the order in which they came in.
-- ARGV: the place after which to go on, how many (at most 500)
-- returns: pairs of id and place
-- guarantee: what is no longer there is dropped from the index on the way.
local after, limit = take(), tonumber(take())
local found = call('ZRANGEBYSCORE', X .. 'index', '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
local answer = {}
for at = 1, #found, 2 do
  answer[#answer + 1] = found[at]
  answer[#answer + 1] = found[at + 1]
end
return answer
