-- inbox.lua: takes follow-up jobs that another queue's finishes left in its outbox for this one.
-- ARGV: the source queue, how many, then for each its number in the source's outbox and the job (see
--   intake.lua; '': another queue holds it or its key)
-- returns: now, the highest number given
-- guarantee: each number comes in once, however often and by however many it is carried; carriers send them in order
-- and from the first that is left, so a number at or below the last one taken has been taken.
local source, many = take(), tonumber(take())
local place = rising('place', many)
local last = tonumber(call('HGET', X .. 'inbox', source) or 0)
for number = 1, many do
  local letter, job = tonumber(take()), take()
  if letter > last then
    -- Blank: another queue holds the job or its key.
    if job ~= '' then enqueue(cmsgpack.unpack(job), place + number - 1) end
    take_in()
    last = letter
  end
end
call('HSET', X .. 'inbox', source, int(last))
wake()
return { int(now), int(place + many - 1) }
