-- prune.lua: removes what retention lets go from one queue.
-- ARGV: `expired`, the most jobs to remove (at most 500), microseconds that dead and cancelled jobs are kept; or
--   `older`, the most jobs, microseconds since they ended, then the codes of the states ('678')
-- returns: how many were removed, 1 if there are more
local what, limit, span, codes = take(), tonumber(take()), tonumber(take()), take() or ''
local removed, more = 0, 0

-- Removes jobs whose score in a set is at most `due`, as long as Asynq's set still holds them under `word`.
local function sweep(set, due, word)
  local room = limit - removed
  local found = call('ZRANGEBYSCORE', set, '-inf', int(due), 'LIMIT', 0, room + 1)
  -- Also when what was found are ids without a job, which are dropped and not counted.
  if #found > room then more = 1 end
  for _, id in ipairs(found) do
    if removed >= limit then return end
    local there = call('HGET', task(id), 'state') == word
    call('ZREM', set, id)
    if there then
      leave(id, word)
      remove(id)
      removed = removed + 1
    end
  end
end

if what == 'expired' then
  sweep(X .. 'expire', now, 'completed')
  sweep(X .. 'ended:7', now - span, 'archived')
  sweep(X .. 'ended:8', now - span, 'archived')
  -- What Go ended.
  sweep(P .. 'completed', seconds - 1, 'completed')
  sweep(P .. 'archived', seconds - math.floor(span / 1000000) - 1, 'archived')
  for _, key in ipairs(call('ZRANGEBYSCORE', X .. 'once:due', '-inf', int(now), 'LIMIT', 0, 500)) do
    local held = call('HGET', X .. 'once', key)
    if held and tonumber(held:match('^%d+')) <= now then call('HDEL', X .. 'once', key) end
    call('ZREM', X .. 'once:due', key)
  end
  local oldest = math.floor(seconds / 60) - 35 * 24 * 60
  for _, minute in ipairs(call('ZRANGEBYSCORE', X .. 'minutes', '-inf', '(' .. int(oldest), 'LIMIT', 0, 500)) do
    call('DEL', X .. 'tally:' .. minute, X .. 'tenants:' .. minute)
    call('ZREM', X .. 'minutes', minute)
  end
else
  for code in codes:gmatch('%d') do
    sweep(X .. 'ended:' .. code, now - span, code == '6' and 'completed' or 'archived')
  end
end
return { removed, more }
