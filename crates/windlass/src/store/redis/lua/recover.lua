-- recover.lua: takes over what a Go worker held and lost, by Asynq's own rules; drops ids that stand in Asynq's
-- lists without a job; gives marked jobs that Go has archived their state back; ends what Go ran when it was cancelled
-- here; makes room among the archived.
-- ARGV: the most entries to look at (at most 500)
-- returns: how many jobs were taken over, 1 if there is more to do now
-- guarantee: only what Asynq's lease has let go for 30 s and no claim of ours holds. An active id without a lease gets
-- one that has run out now; one that stands twice, and a lease of a job that is not active, go at once. The oldest of
-- more than 9,000 archived jobs, and those of 80 days, move to `x:dead`, where Asynq trims nothing.
-- why: Asynq's recoverers do the same once a minute, but none runs where no Go server is left. Its servers delete
-- archived tasks beyond 10,000 and those of 90 days, without asking whose they are. Under the state word `x:dead` Go
-- still runs, deletes and archives a job: it makes the key of the set from the word.
local room, taken, ended = tonumber(take()), 0, 0
local MOST_ARCHIVED, OLDEST_ARCHIVED = 9000, seconds - 80 * 86400

-- Lists and leases are of the same length where all is well.
local function heal()
  local seen = {}
  for _, id in ipairs(call('LRANGE', P .. 'active', -math.floor(room / 2), -1)) do
    if seen[id] then
      call('LREM', P .. 'active', -1, id)
    elseif not call('ZSCORE', P .. 'lease', id) then
      call('ZADD', P .. 'lease', seconds, id)
    end
    seen[id] = true
    room = room - 1
  end
end

local function recover(id)
  if call('HGET', task(id), 'x:gone') then return take_from_go(id) end
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
    return
  end
  -- Its worker may only sleep, and write a result when all is over: see heal.lua.
  call('ZADD', X .. 'zombies', now, id)
  local retried, failure = retried_in(job.message), 'asynq: task lease expired'
  processed, failures = processed + 1, failures + 1
  note(id, call('HGET', task(id), 'x:e'), int(retried + 1), 'error', failure)
  if retried >= retry_in(job.message) then
    settle(id, 7, job, 'exhausted', nil, failure)
  else
    blame(id, job.message, retried + 1, failure)
    wait_until(id, 'retry', int(now + gos_pause(retried)))
    count(job.kind, job.tenant, 5)
  end
  if free(id, job.exclusive) then room = room - 1 end
  taken = taken + 1
end

-- A job that we were told to cancel while Go ran it ends once Go has let it go, unless Go has ended it.
local function heed_wish(id)
  local f = redis.pcall('HMGET', task(id), 'pending_since', 'x:wish', 'x:gone')
  local job = f[2] and not f[3] and load(id)
  local ours = f[1] and f[1]:sub(1, 1) == '+'
  if job and job.word == 'active' and not ours then return end
  call('SREM', X .. 'wishes', id)
  -- A run of ours heeds it at its own end.
  if not job or job.word == 'active' then return end
  if job.word ~= 'retry' and job.word ~= 'pending' and job.word ~= 'x:blocked' then
    call('HDEL', task(id), 'x:wish')
    return
  end
  leave(id, job.word)
  free_lock(id)
  settle(id, 8, job, f[2], nil, f[2])
  if free(id, job.exclusive) then room = room - 1 end
  ended = ended + 1
end

-- The oldest stand first, so those that are too many and those that are too old are one stretch.
local function make_room()
  local over = call('ZCARD', P .. 'archived') - MOST_ARCHIVED
  local much = math.max(over, call('ZCOUNT', P .. 'archived', '-inf', OLDEST_ARCHIVED))
  local many = math.min(much, room)
  if many < 1 then return much > 0 end
  local found = call('ZRANGE', P .. 'archived', 0, many - 1, 'WITHSCORES')
  for at = 1, #found, 2 do
    local id = found[at]
    call('ZREM', P .. 'archived', id)
    -- An id without a task, or one whose task is elsewhere, is dropped.
    local f = redis.pcall('HMGET', task(id), 'state', 'msg', 'x:gone')
    if f[3] and f[1] == 'archived' then
      put_away(id)
    elseif f[2] and is_archived(id, f[1]) then
      call('ZADD', P .. 'x:dead', found[at + 1], id)
      call('HSET', task(id), 'state', 'x:dead')
    end
  end
  return much > many
end

-- Go has archived marked jobs: among the last that came there. The slow sweeps (heal.lua) go through all.
local function put_back()
  if call('ZCARD', X .. 'cancelled') + call('ZCARD', X .. 'deleted') == 0 then return false end
  local any = false
  local late = call('ZREVRANGEBYSCORE', P .. 'archived', '+inf', seconds - 10, 'LIMIT', 0, math.floor(room / 2))
  for _, id in ipairs(late) do
    if type(redis.pcall('HGET', task(id), 'x:gone')) == 'string' then
      put_away(id)
      any = true
    end
  end
  room = room - #late
  return any
end

if call('LLEN', P .. 'active') ~= call('ZCARD', P .. 'lease') then heal() end
local lapsed = call('ZRANGEBYSCORE', P .. 'lease', '-inf', seconds - 30, 'LIMIT', 0, math.floor(room / 2))
for _, id in ipairs(lapsed) do
  local since = redis.pcall('HGET', task(id), 'pending_since')
  if type(since) == 'table' then
    -- No hash: nobody can run or end it, and it is nobody's to delete.
    leave(id, 'active')
  elseif not (since and since:sub(1, 1) == '+' and call('ZSCORE', X .. 'lease', id)) then
    recover(id)
  end
end
room = room - #lapsed
local wishes = call('SRANDMEMBER', X .. 'wishes', math.min(50, math.max(0, math.floor(room / 2))))
for _, id in ipairs(wishes) do
  heed_wish(id)
end
room = math.max(0, room - #wishes)
local more = put_back()
more = make_room() or more
write_counts()
if taken + ended > 0 then wake() end
return { taken, more and 1 or 0 }
