-- sizes.lua: adds up how many jobs stand in some sets of one queue. Reads only.
-- ARGV: how many sets (at most 500), their names behind the queue's prefix
-- returns: the sum
local sum = 0
for _ = 1, tonumber(take()) do
  sum = sum + call('ZCARD', P .. take())
end
return sum
