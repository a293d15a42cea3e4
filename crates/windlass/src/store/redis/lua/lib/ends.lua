-- ends.lua: ends of lives. Needs core.lua, message.lua, states.lua and stats.lua.

local function note(id, history, attempt, class, message)
  local entry = int(now) .. '\1' .. attempt .. '\1' .. class .. '\1' .. message .. '\0'
  history = (history or '') .. entry
  local _, entries = history:gsub('%z', '')
  while entries > 10 do
    history = history:sub(history:find('%z') + 1)
    entries = entries - 1
  end
  call('HSET', task(id), 'x:e', history)
end

-- How long a completed job is kept, in microseconds as text. Whole seconds stand in the message alone, as Go's do.
local function retention_of(job)
  return job.retention or int(number_in(job.message, 12) * 1000000)
end

-- Ends a job's life in a state (6 completed, 7 dead, 8 cancelled). `run`: waited and ran, if a run led there.
-- `job`: kind, tenant, unique key, created at, message, and (completed) retention.
local function settle(id, code, job, reason, run, failure)
  free_key(id, job.key)
  local lifetime = math.max(0, now - tonumber(job.created or now))
  count(job.kind, job.tenant, code, run and run.waited, run and run.ran, lifetime)
  if code == 6 then
    free_lock(id)
    if tonumber(job.retention) == 0 then
      call('DEL', task(id))
      call('HINCRBY', X .. 'q', 'removed', 1)
      return
    end
  end
  call('HDEL', task(id), 'pending_since', 'x:at', 'x:wish', 'x:why')
  call('HSET', task(id), 'x:d', int(now), 'x:u', int(now), 'x:end', code)
  if code == 6 then
    local expires = now + tonumber(job.retention)
    call('ZADD', P .. 'completed', int(math.ceil(expires / 1000000)), id)
    call('ZADD', X .. 'expire', expires, id)
    call('HSET', task(id), 'state', 'completed', 'msg', rewrite(job.message, nil, nil, nil, seconds))
  else
    call('ZADD', P .. 'archived', seconds, id)
    call('HSET', task(id), 'state', 'archived', 'x:why', reason)
    if failure then blame(id, job.message, nil, failure) end
  end
  call('ZADD', X .. 'ended:' .. code, now, id)
end

