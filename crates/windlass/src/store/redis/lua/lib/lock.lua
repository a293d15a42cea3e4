-- lock.lua: what is under a lock's name. Needs core.lua; KEYS[1] is the prefix of the name's slot.
-- `x:lock`: a hash: `slots` of all who hold it or wait for it, `start` of Redis that its times are of, `last` fence, and
--   for each hold, by its token, `fence since ttl holder`
-- `x:lock:held`: until when each token holds it; at most as many as there are slots, some of which may have lapsed
-- `x:lock:line`: the places of those who wait; `x:lock:waits`: until when they are kept
-- All go by the steady clock, and go away by themselves long after the last use. By then the wall clock is past their
-- fences, from which new ones are made.
local L = X .. 'lock'
local HELD, LINE, WAITS = L .. ':held', L .. ':line', L .. ':waits'
local KEEP_DAYS = 30

local function lock_record(token)
  local record = call('HGET', L, token)
  if not record then return end
  local fence, since, ttl, holder = record:match('^(%d+) (%d+) (%d+) (.*)$')
  return { fence = fence, since = since, ttl = tonumber(ttl), holder = holder }
end

local function keep_lock()
  for _, key in ipairs({ L, HELD, LINE, WAITS }) do
    call('EXPIRE', key, KEEP_DAYS * 86400)
  end
end

local function drop_hold(token)
  call('ZREM', HELD, token)
  call('HDEL', L, token)
end

-- Another start of Redis moves the steady clock past everything (see pulse.lua), while those who hold a lock may live on
-- and count on it. So whoever looks first after a start gives its holders a whole time to live from then on.
local function after_start(start)
  local old = call('HGET', L, 'start')
  if old == start then return end
  for _, token in ipairs(old and call('ZRANGE', HELD, 0, 499) or {}) do
    local record, score = lock_record(token), tonumber(call('ZSCORE', HELD, token))
    call('ZADD', HELD, int(math.max(score, mono + (record and record.ttl or 0))), token)
  end
  if old then call('HSET', L, 'start', start) end
end

local function live_holds()
  return call('ZCOUNT', HELD, '(' .. int(mono), '+inf')
end
