-- lock_acquire.lua: takes a slot of a lock, or a place in its line.
-- ARGV: the start of Redis, the attempt's token, slots, time to live, how long to keep a place in line (0: none is
--   wanted), the holder for people
-- returns: the fence; or 'slots' and how many the others asked for; or 'busy', when something lapses that stands in the
--   way, how many live waiters stand ahead
-- guarantee: at most so many hold it at once; a free slot goes to the first live waiters, what those leave to anybody
local start, token, slots = take(), take(), tonumber(take())
local ttl, place, holder = tonumber(take()), tonumber(take()), take()
after_start(start)

for _, dead in ipairs(call('ZRANGEBYSCORE', WAITS, '-inf', int(mono), 'LIMIT', 0, 100)) do
  call('ZREM', WAITS, dead)
  call('ZREM', LINE, dead)
end

local own = lock_record(token)
if own then
  call('ZADD', HELD, int(mono + ttl), token)
  call('HSET', L, token, own.fence .. ' ' .. own.since .. ' ' .. int(ttl) .. ' ' .. own.holder)
  keep_lock()
  return { own.fence }
end

local held = live_holds()
local others = tonumber(call('HGET', L, 'slots'))
if others and others ~= slots and (held > 0 or call('ZCARD', WAITS) > 0) then
  return { 'slots', others }
end

-- Dead waiters that were not swept yet count as live for a moment: they are swept before long.
local mine = call('ZSCORE', WAITS, token) and call('ZRANK', LINE, token)
local ahead = mine or call('ZCARD', LINE)
if ahead < slots - held then
  -- Holds with another number of slots have lapsed, or it had been refused.
  local room = others ~= slots and 500 or call('ZCARD', HELD) - slots + 1
  if room > 0 then
    for _, lapsed in ipairs(call('ZRANGEBYSCORE', HELD, '-inf', int(mono), 'LIMIT', 0, room)) do
      drop_hold(lapsed)
    end
  end
  call('ZREM', WAITS, token)
  call('ZREM', LINE, token)
  local last = tonumber(call('HGET', L, 'last') or 0)
  local fence = math.max(last + 1, tonumber(ARGV[4]) + 1, now)
  call('ZADD', HELD, int(mono + ttl), token)
  call('HSET', L, 'last', int(fence), 'slots', slots, 'start', start,
    token, int(fence) .. '000 ' .. int(now) .. ' ' .. int(ttl) .. ' ' .. holder)
  keep_lock()
  return { int(fence) .. '000' }
end

if place > 0 then
  if not mine then
    local last = call('ZREVRANGE', LINE, 0, 0, 'WITHSCORES')[2]
    call('ZADD', LINE, int(tonumber(last or 0) + 1), token)
  end
  call('ZADD', WAITS, int(mono + place), token)
  call('HSET', L, 'slots', slots, 'start', start)
  keep_lock()
end
local first = call('ZRANGEBYSCORE', HELD, '(' .. int(mono), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
if held < slots then
  -- Who stands behind is in nobody's way.
  local waits = call('ZRANGEBYSCORE', WAITS, '(' .. int(mono), '+inf', 'WITHSCORES', 'LIMIT', 0, 100)
  for at = 1, #waits, 2 do
    if (call('ZRANK', LINE, waits[at]) or ahead) < ahead then
      if not first or tonumber(waits[at + 1]) < tonumber(first) then first = waits[at + 1] end
      break
    end
  end
end
return { 'busy', int(math.max(0, tonumber(first or mono) - mono)), ahead }
