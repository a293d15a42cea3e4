-- gone.lua: clears what is left of a queue that Go's inspector has deleted. Asynq leaves behind completed tasks and all
-- that is ours.
-- ARGV: the most entries to remove (at most 500)
-- returns: 0: jobs of this queue still wait or can be redriven, so it is a queue as before; 1: something is left to
--   clear; 2: nothing is left but the last numbers that were given
-- guarantee: nothing is touched as long as a job waits, runs or is dead here. The numbers of letters stay, or a queue
--   of the same name would begin with some that were taken.
local room = tonumber(take())
for _, name in ipairs({
  'active', 'pending', 'scheduled', 'retry', 'archived', 'x:dead', 'x:blocked', 'x:lines', 'x:suspects', 'x:outs',
}) do
  if call('EXISTS', P .. name) == 1 then return 0 end
end
if call('EXISTS', P .. 'aggregation_sets') == 1 then return 0 end
for _, group in ipairs(call('SRANDMEMBER', P .. 'groups', room - 1)) do
  if call('EXISTS', P .. 'g:' .. group) == 1 then return 0 end
  call('SREM', P .. 'groups', group)
  room = room - 1
end
if call('EXISTS', P .. 'groups') == 1 then return 1 end
for _, key in ipairs(call('SRANDMEMBER', X .. 'rows', room - 1)) do
  call('UNLINK', X .. 'row:' .. key)
  call('SREM', X .. 'rows', key)
  room = room - 1
end
if call('EXISTS', X .. 'rows') == 1 then return 1 end
-- What these still hold are completed jobs, and jobs that Go has deleted.
local completed = call('ZRANGE', P .. 'completed', 0, room - 1)
for _, id in ipairs(completed) do
  call('DEL', task(id))
  call('ZREM', P .. 'completed', id)
end
room = room - #completed
while room > 0 do
  local first, page = next_page('-1', '+inf')
  if not first then break end
  local ids = cmsgpack.unpack(page)
  if #ids > room then return 1 end
  for at, id in ipairs(ids) do
    if id and stands_at(id, tonumber(first) + at - 1) then call('DEL', task(id)) end
  end
  call('ZREM', X .. 'order', page)
  room = room - math.max(1, #ids)
end
if room <= 0 then return 1 end
for _, minute in ipairs(call('ZRANGE', X .. 'minutes', 0, room - 1)) do
  call('DEL', X .. 'tally:' .. minute, X .. 'tenants:' .. minute)
  call('ZREM', X .. 'minutes', minute)
  room = room - 1
end
if room <= 0 then return 1 end
for _, name in ipairs({
  'asked', 'cancelled', 'claims', 'deleted', 'due', 'ended:6', 'ended:7', 'ended:8', 'expire', 'kinds', 'lease', 'looks', 'once',
  'once:due', 'slots', 'undeclared', 'unique', 'urgent', 'wishes', 'zombies',
}) do
  call('UNLINK', X .. name)
end
return 2
