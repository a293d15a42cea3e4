-- prune.lua: removes what retention lets go from one queue.
-- ARGV: `expired`, the most jobs to remove (at most 350), microseconds that dead and cancelled jobs are kept; or
--   `older`, the most jobs, microseconds since they ended, then the codes of the states ('678')
-- returns: how many were removed, 1 if there are more
-- guarantee: a job goes only by the moment of its last end: what we noted of an earlier one counts for nothing once Go
--   has run it since.
local what, limit, span, codes = take(), tonumber(take()), tonumber(take()), take() or ''
local removed, more = 0, 0
-- How many entries this step may still touch for jobs; those that it drops for nothing count, too. Keys and minutes
-- have room of their own.
local room, KEYS_AT_ONCE, MINUTES_AT_ONCE = 350, 100, 50

-- Removes jobs whose score in a set is at most `due`, those that `holds` says are still in it.
local function sweep(set, due, holds)
  local most = math.min(limit - removed, room)
  local found = call('ZRANGEBYSCORE', set, '-inf', int(due), 'WITHSCORES', 'LIMIT', 0, most + 1)
  -- Also when what was found are ids without a job, which are dropped and not counted.
  if #found / 2 > most then more = 1 end
  for at = 1, math.min(#found, 2 * most), 2 do
    local id = found[at]
    room = room - 1
    local word = holds(id, tonumber(found[at + 1]))
    call('ZREM', set, id)
    if word == 'marked' then
      discard(id)
      removed = removed + 1
    elseif word then
      leave(id, word)
      remove(id)
      removed = removed + 1
    end
  end
end

local function by_ours(name, due)
  sweep(X .. name, due, function(id, score) return ended_in(id, name, score) end)
end

-- What Go ended.
local function by_theirs(word, due)
  sweep(P .. word, due, function(id) return redis.pcall('HGET', task(id), 'state') == word and word end)
end

if what == 'expired' then
  by_ours('expire', now)
  by_ours('ended:7', now - span)
  by_ours('ended:8', now - span)
  by_theirs('completed', seconds - 1)
  by_theirs('archived', seconds - math.floor(span / 1000000) - 1)
  by_theirs('x:dead', seconds - math.floor(span / 1000000) - 1)
  local keys = call('ZRANGEBYSCORE', X .. 'once:due', '-inf', int(now), 'LIMIT', 0, KEYS_AT_ONCE)
  if #keys == KEYS_AT_ONCE then more = 1 end
  for _, key in ipairs(keys) do
    local held = call('HGET', X .. 'once', key)
    if held and tonumber(held:match('^%d+')) <= now then call('HDEL', X .. 'once', key) end
    call('ZREM', X .. 'once:due', key)
  end
  local oldest = math.floor(seconds / 60) - 35 * 24 * 60
  for _, minute in ipairs(call('ZRANGEBYSCORE', X .. 'minutes', '-inf', '(' .. int(oldest), 'LIMIT', 0, MINUTES_AT_ONCE)) do
    call('DEL', X .. 'tally:' .. minute, X .. 'tenants:' .. minute)
    call('ZREM', X .. 'minutes', minute)
  end
else
  for code in codes:gmatch('%d') do
    by_ours('ended:' .. code, now - span)
  end
end
return { removed, more }
