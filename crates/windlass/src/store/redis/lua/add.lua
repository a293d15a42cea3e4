-- add.lua: makes plain jobs of one queue durable, in their order: those that run at once and have nothing beside
-- Asynq's message.
-- ARGV[5]: msgpack: at most 500 jobs, each: id, message, kind
-- returns: highest number given; 0: an id is taken or comes twice, so nothing has changed (enqueue.lua sees to it)
-- guarantee: all of this call's jobs come in at once, or none.
-- why: the short way of enqueue.lua, with few closures to make and each list and set touched once.
local jobs, keys, seen = cmsgpack.unpack(ARGV[5]), {}, {}
for at, job in ipairs(jobs) do
  if seen[job[1]] then return 0 end
  keys[at], seen[job[1]] = task(job[1]), true
end
if call('EXISTS', unpack(keys)) > 0 then return 0 end
local place = rising('place', #jobs)
local since, ids, kinds = int(now) .. '000', {}, {}
for at, job in ipairs(jobs) do
  call('HSET', keys[at], 'msg', job[2], 'state', 'pending', 'pending_since', since, 'x:n', int(place + at - 1))
  ids[at] = job[1]
  kinds[job[3]] = true
end
local before = call('LPUSH', P .. 'pending', unpack(ids)) - #ids
note_order(place, ids)
for kind in pairs(kinds) do
  call('SADD', X .. 'kinds', kind)
end
if before < 64 then wake() end
return int(place + #jobs - 1)
