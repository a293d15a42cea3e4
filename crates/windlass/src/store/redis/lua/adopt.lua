-- adopt.lua: gives places in the order of enqueueing to jobs that Go brought in, and to those whose pages were lost, so
-- that listings show them.
-- ARGV: the container as Asynq names it (pending, active, scheduled, .., x:dead, x:blocked, or g: and a
--   group), from which rank, how many (at most 500)
-- returns: the highest number given, how many ids were looked at
-- guarantee: a job that has a place keeps it.
local container, from, many = take(), tonumber(take()), tonumber(take())
local ids
if container == 'pending' or container == 'active' then
  ids = call('LRANGE', P .. container, -from - many, -from - 1)
else
  ids = call('ZRANGE', P .. container, from, from + many - 1)
end
local fresh = {}
for at = #ids, 1, -1 do
  if not is_listed(ids[at]) and state_of(ids[at]) then
    fresh[#fresh + 1] = ids[at]
  end
end
if #fresh == 0 then return { ARGV[4], #ids } end
local place = rising('place', #fresh)
for at, id in ipairs(fresh) do
  call('HSET', task(id), 'x:n', int(place + at - 1))
end
note_order(place, fresh)
return { int(place + #fresh - 1), #ids }
