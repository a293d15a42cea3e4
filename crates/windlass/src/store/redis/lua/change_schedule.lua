-- change_schedule.lua: changes a schedule of this queue, if it is still the one that was read, and brings in what follows.
-- ARGV: its name; the version that was read (0: there was none); 1: it stays, 0: it is removed with its history; what it
--   says from now on; how many lines of history are kept; msgpack: lines to add (at most that many); msgpack: at most 500
--   jobs, each as intake.lua says
-- returns: {highest number given, its version now}; {.., 0}: it is removed; {.., -1}: it is another one, nothing has changed
-- guarantee: the change, the jobs and the history are one step; a job whose id or key is taken is left as it is.
-- why: jobs first. If one cannot be made, since something else stands under its key, the schedule is as it was, and those
-- before it are found again by the next try. Versions are above the clock, and above what was given by a clock since set
-- back, also once the queue was deleted.
local name, from, stays, says, keep = take(), tonumber(take()), take() == '1', take(), tonumber(take())
local lines, jobs = cmsgpack.unpack(take()), cmsgpack.unpack(take())
local key, past = X .. 'schedule:' .. name, X .. 'ticked:' .. name
local f = call('HMGET', key, 'revision', 'lines')
local revision, top = tonumber(f[1] or 0), tonumber(ARGV[4])
if revision ~= from then return { int(top), -1 } end
if #jobs > 0 then
  local place = rising('place', #jobs)
  top = place + #jobs - 1
  for number, job in ipairs(jobs) do
    local made, other = pcall(enqueue, job, place + number - 1)
    if not made then
      take_in()
      error(other, 0)
    end
  end
  take_in()
  wake()
end
if not stays then
  call('DEL', key, past)
  call('ZREM', X .. 'schedules', name)
  return { int(top), 0 }
end
revision = math.max(rising('revision', 1), revision + 1)
call('HSET', key, 'revision', int(revision), 'lines', int(tonumber(f[2] or 0) + #lines), 'says', says)
call('ZADD', X .. 'schedules', 0, name)
for at = 1, #lines, 100 do
  call('RPUSH', past, unpack(lines, at, math.min(at + 99, #lines)))
end
if #lines > 0 then call('LTRIM', past, -keep, -1) end
return { int(top), int(revision) }
