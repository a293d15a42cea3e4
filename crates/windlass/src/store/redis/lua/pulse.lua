-- pulse.lua: the store's steady clock and its sign of life; one hash for the whole store, so it stands alone.
-- KEYS[1]: `asynq:x:{store}:`
-- ARGV[1]: the wall clock of a test, or empty    ARGV[2]: this start of Redis (another one: everybody was away)
-- ARGV[3]: the wall clock that the caller was last told by this script, ARGV[4]: the microseconds that have passed
--   since by its own monotonic clock; both empty: it does not know
-- ARGV[5]: the lease in microseconds, 0: only look    ARGV[6]: 1: the caller itself ran more than half a lease late
-- returns: the wall clock, what to add to it for the steady clock, 1 if lapsed leases may be taken
-- guarantee: a step of the wall clock moves no lease as long as somebody saw it happen: the caller's own clock says
--   by how much the wall clock is off, and the last stamp says whether somebody else has made up for it already.
--   The rule of the pauses after an outage is `Pulse::stamp` in decide/rescue.rs.
-- why: Redis has no clock that is never set. Another start of it is an outage in which all leases have run out: the
--   steady clock jumps past them, and those who live renew theirs in the pause.
local key, call = KEYS[1] .. 'pulse', redis.call
local function int(number) return string.format('%.0f', number) end
local now
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
else
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local JUMP = 86400000000
local old = call('HMGET', key, 'last', 'offset', 'start', 'stamped', 'wait')
local last, offset = tonumber(old[1] or now), tonumber(old[2] or 0)
local stepped
if ARGV[3] ~= '' and tonumber(ARGV[4]) >= 0 then
  local told = tonumber(ARGV[3])
  local jump = now - told - tonumber(ARGV[4])
  if math.abs(jump) > 500000 and (told == last or now < last or (jump > 0 and now - last >= jump)) then
    stepped = math.max(0, now - jump - last)
  end
end
if stepped then
  offset = offset + last + stepped - now
elseif now < last then
  offset = offset + last - now
end
local mono = now + offset
local stamped, wait = tonumber(old[4] or mono), tonumber(old[5] or mono)
local lease = tonumber(ARGV[5])
local another = old[3] and old[3] ~= ARGV[2]
if another then
  offset, mono = offset + JUMP, mono + JUMP
  stamped, wait = mono, mono + math.max(lease, 10000000) * 0.4
end
if lease > 0 then
  local pausing = wait > stamped
  local gap = mono - stamped > (pausing and lease / 4 or lease / 2)
  if gap or ARGV[6] == '1' then wait = math.max(wait, mono + math.floor(lease * 0.4)) end
  stamped = math.max(stamped, mono)
end
call('HSET', key, 'last', int(now), 'offset', int(offset), 'start', ARGV[2], 'stamped', int(stamped), 'wait', int(wait))
return { int(now), int(offset), mono >= wait and 1 or 0 }
