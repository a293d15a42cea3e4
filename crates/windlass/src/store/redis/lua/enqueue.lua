-- enqueue.lua: makes jobs of one queue durable, in their order.
-- ARGV[5]: msgpack: at most 500 jobs, each as intake.lua says.
-- returns: now, the highest number given, then for each job nothing (`0`: new) or {holder, its state or -1}
-- guarantee: all of this call's jobs come in at once; one whose id or key is taken changes nothing. If one cannot be
-- made, since something else stands under its key, those before it have come in.
local jobs = cmsgpack.unpack(ARGV[5])
local place = rising('place', #jobs)
local answers = { int(now), int(place + #jobs - 1) }
local short = call('LLEN', P .. 'pending') < 64
for number, job in ipairs(jobs) do
  local made, other = pcall(enqueue, job, place + number - 1)
  if not made then
    take_in()
    error(other, 0)
  end
  answers[number + 2] = other or 0
end
take_in()
if short then wake() end
return answers
