-- enqueue.lua: makes jobs of one queue durable, in their order.
-- ARGV: how many (at most 500), then 13 values a job: see take_job in lib.lua.
-- returns: now, the highest number given, then for each job nothing (`0`: new) or {holder, its state or -1}
-- guarantee: all of this call's jobs come in at once; one whose id or key is taken changes nothing.
local many = tonumber(take())
local place = rising('place', many)
local answers = { int(now), int(place + many - 1) }
local short = call('LLEN', P .. 'pending') < 64
for number = 1, many do
  local other = enqueue(take_job(), place + number - 1)
  answers[#answers + 1] = other or 0
end
if short then wake() end
return answers
