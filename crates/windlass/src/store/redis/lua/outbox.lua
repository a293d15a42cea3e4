-- outbox.lua: what this queue's finishes left for other queues; drops what has been delivered.
-- ARGV: how many to read at most, the number up to which to drop, the target ('' for any)
-- returns: target queue, then pairs of number and letter, oldest first; empty when there is none
-- guarantee: letters to one target are read in order and from the first that is left.
local limit, drop, target = tonumber(take()), tonumber(take()), take()
if drop > 0 and target ~= '' then
  local box = X .. 'out:' .. target
  call('ZREMRANGEBYSCORE', box, '-inf', drop)
  if call('EXISTS', box) == 0 then call('SREM', X .. 'outs', target) end
  target = ''
end
if target == '' then target = call('SRANDMEMBER', X .. 'outs') end
if not target then return {} end
local letters = call('ZRANGE', X .. 'out:' .. target, 0, limit - 1, 'WITHSCORES')
local answer = { target }
for at = 1, #letters, 2 do
  answer[#answer + 1] = letters[at + 1]
  answer[#answer + 1] = letters[at]
end
return answer
