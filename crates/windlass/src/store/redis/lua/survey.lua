-- survey.lua: whether one queue has something to do for a server, and when it may have. Reads only; it stands alone.
-- KEYS: what could give a claim, a promotion or a sweep something to do, below `asynq:{queue}:`, in this order: pending,
--   x:lines, x:suspects, x:due, scheduled, retry, x:lease, lease, active, x:outs, x:cancelled, x:deleted, archived,
--   x:wishes, x:rows
-- ARGV[1], ARGV[2]: what the caller expects the wall clock to show (or empty), and what to add to it for the steady
--   clock: as ARGV[2] and ARGV[3] of the other scripts
-- returns: 1 if something stands in line; microseconds until the next job is due (0 while any is blocked, since promotions
--   look at their holders), until the next lease lapses (-1: none); 1 if a sweep has something to mend, to carry or to move
-- why: it is asked over the connection for hints, for which Redis remembers the keys and tells once one of them changes.
-- What it remembers of a script, up to 7.0, is what stands in KEYS.
local call = redis.call
local pending, lines, suspects, due, scheduled, retry, ours, lease = unpack(KEYS)
local active, outs, cancelled, deleted, archived, wishes, rows = unpack(KEYS, 9)
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local mono = now + tonumber(ARGV[2])
if ARGV[1] ~= '' and math.abs(now - tonumber(ARGV[1])) > 500000 then mono = tonumber(ARGV[1]) + tonumber(ARGV[2]) end

-- Until the first of these sets' scores, each in a unit and by a clock of its own.
local function next_of(sets)
  local soonest
  for _, set in ipairs(sets) do
    local first = call('ZRANGE', set[1], 0, 0, 'WITHSCORES')
    if first[1] then
      local left = math.max(0, tonumber(first[2]) * set[2] - set[3])
      if not soonest or left < soonest then soonest = left end
    end
  end
  return soonest and string.format('%.0f', soonest) or '-1'
end

local waiting = call('LLEN', pending) + call('SCARD', lines) + call('SCARD', suspects) > 0
local next_due = next_of({ { due, 1, now }, { scheduled, 1000000, now }, { retry, 1000000, now } })
if call('EXISTS', rows) == 1 then next_due = '0' end
local next_lapse = next_of({ { ours, 1, mono }, { lease, 1000000, now - 30000000 } })
local oldest = call('ZRANGE', archived, 0, 0, 'WITHSCORES')
local mend = call('LLEN', active) ~= call('ZCARD', lease)
  or call('SCARD', outs) + call('SCARD', wishes) + call('ZCARD', cancelled) + call('ZCARD', deleted) > 0
  or call('ZCARD', archived) > 9000
  or (oldest[1] and tonumber(oldest[2]) * 1000000 <= now - 80 * 86400000000)
return { waiting and 1 or 0, next_due, next_lapse, mend and 1 or 0 }
