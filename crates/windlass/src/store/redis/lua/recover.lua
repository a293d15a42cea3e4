-- recover.lua: takes over what a Go worker held and lost, by Asynq's own rules, and drops ids that stand in Asynq's
-- lists without a job.
-- ARGV: the most leases to look at (at most 500)
-- returns: how many jobs were taken over
-- guarantee: only what Asynq's lease has let go for 30 s and no claim of ours holds. An active id without a lease gets
-- one that has run out now; one that stands twice, and a lease of a job that is not active, go at once.
-- why: Asynq's recoverers do the same once a minute, but none runs where no Go server is left.
local limit, taken = tonumber(take()), 0

-- Lists and leases are of the same length where all is well.
local function heal()
  local seen = {}
  for _, id in ipairs(call('LRANGE', P .. 'active', -limit, -1)) do
    if seen[id] then
      call('LREM', P .. 'active', -1, id)
    elseif not call('ZSCORE', P .. 'lease', id) then
      call('ZADD', P .. 'lease', seconds, id)
    end
    seen[id] = true
  end
end

local function recover(id)
  local job = load(id)
  if job and job.word ~= 'active' then
    call('LREM', P .. 'active', 1, id)
    call('ZREM', P .. 'lease', id)
    return
  end
  leave(id, 'active')
  -- A ghost: its hash has no message, so nobody could ever run or end it.
  if not job then
    call('DEL', task(id))
    call('ZREM', X .. 'index', id)
    return
  end
  local retried, failure = retried_in(job.message), 'asynq: task lease expired'
  processed, failures = processed + 1, failures + 1
  note(id, call('HGET', task(id), 'x:e'), int(retried + 1), 'error', failure)
  if retried >= retry_in(job.message) then
    settle(id, 7, job, 'exhausted', nil, failure)
  else
    local wait = retried ^ 4 + 15 + 15 * (retried + 1)
    blame(id, job.message, retried + 1, failure)
    wait_until(id, 'retry', int(now + wait * 1000000))
    count(job.kind, job.tenant, 5)
  end
  taken = taken + 1
end

if call('LLEN', P .. 'active') ~= call('ZCARD', P .. 'lease') then heal() end
for _, id in ipairs(call('ZRANGEBYSCORE', P .. 'lease', '-inf', seconds - 30, 'LIMIT', 0, limit)) do
  local since = call('HGET', task(id), 'pending_since')
  if not (since and since:sub(1, 1) == '+' and call('ZSCORE', X .. 'lease', id)) then recover(id) end
end
write_counts()
if taken > 0 then wake() end
return taken
