-- list.lua: ids of one queue's jobs in the order in which they came in.
-- ARGV: the place after which to go on, how many (at most 500)
-- returns: how many were looked at, then pairs of id and place
-- guarantee: what is no longer there is dropped from the index on the way.
local after, limit = take(), tonumber(take())
local found = call('ZRANGEBYSCORE', X .. 'index', '(' .. after, '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
local answer = { #found / 2 }
for at = 1, #found, 2 do
  if call('HEXISTS', task(found[at]), 'msg') == 1 then
    answer[#answer + 1] = found[at]
    answer[#answer + 1] = found[at + 1]
  else
    call('ZREM', X .. 'index', found[at])
  end
end
return answer
