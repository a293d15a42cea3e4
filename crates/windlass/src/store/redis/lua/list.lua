-- list.lua: ids of one queue's jobs in the order in which they came in. Reads only.
-- ARGV: the place after which to go on, how many to look at (at most 500)
-- returns: 1 if that was the end, the place up to which it has looked, then pairs of id and place
local answer = { 0, '' }
local upto, ended = walk_order(tonumber(take()), tonumber(take()), function(id, place)
  if call('HEXISTS', task(id), 'msg') == 0 then return end
  answer[#answer + 1] = id
  answer[#answer + 1] = int(place)
end)
answer[1], answer[2] = ended and 1 or 0, int(upto)
return answer
