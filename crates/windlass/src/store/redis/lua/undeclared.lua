-- undeclared.lua: adds up, for kinds of one queue, the time in which servers lived and none declared them.
-- ARGV: microseconds to add, how many, then each kind and 1 if it counts, 0 if its time begins again
-- returns: the sums in the same order
local elapsed, answer = tonumber(take()), {}
for number = 1, tonumber(take()) do
  local kind, counts = take(), take() == '1'
  if counts then
    answer[number] = int(call('HINCRBY', X .. 'undeclared', kind, int(elapsed)))
  else
    call('HDEL', X .. 'undeclared', kind)
    answer[number] = '0'
  end
end
return answer
