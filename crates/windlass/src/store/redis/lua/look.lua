-- look.lua: who is in the way of new jobs of other queues, here. Notes of keys that have run out go; nothing else is
--   written.
-- ARGV: how many, then id, mode (u: until done, i: idempotency, none), key of each
-- returns: for each 0 or {holder, its state or -1}
local answers = {}
for number = 1, tonumber(take()) do
  answers[number] = in_the_way(take(), take(), take()) or 0
end
return answers
