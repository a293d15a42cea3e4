-- states.lua: what state a job is in, and what it means to come into one and to leave it. Needs core.lua and message.lua.
--
-- The fields of a task's hash that Go knows: msg, state, pending_since, result, unique_key, group. A job that is in line
-- for the first time has nothing else but `x:n`. Ours, all of them optional:
--   x:n its place in the order in which jobs came in (see order.lua)
--   x:c created (where `pending_since` does not say it)   x:p came into line   x:u last change   x:at due
--   x:r the newest run: started, came into line, created, its place in its claim, server
--   x:a number of the last run that ended here   x:f its fence   x:fx, x:cr, x:sn failures beyond Asynq's, crashes, snoozes
--   x:o, x:pr, x:t, x:rt, x:uk, x:ex options, priority, tenant, retention below a second, unique and exclusive key
--   x:sus 1: a suspect
--   x:e, x:em, x:lg, x:ln, x:pf, x:pm, x:ck, x:said errors, log, progress, checkpoint (see news.lua)   x:v group version
--   x:gone, x:g.. a mark and what it changed (see marks.lua)
--   x:d, x:end, x:why, x:wish, x:gc, x:in the end and its reason, wishes to cancel, the job a member went into
-- Moments are microseconds.

local CODES = {
  pending = 0, queued = 0, scheduled = 1, ['x:blocked'] = 2, aggregating = 3, active = 4, retry = 5, completed = 6,
  archived = 7, ['x:dead'] = 7,
}

-- The code of a job's state, or nil if there is no such job. A hash without a message is no job.
local function state_of(id)
  local job = call('HMGET', task(id), 'state', 'x:end', 'x:d', 'x:gone')
  if not job[1] or call('HEXISTS', task(id), 'msg') == 0 then return nil end
  -- It stands in a long list under a mark: see marks.lua.
  if job[4] then return job[4] ~= '9' and tonumber(job[4]) or nil end
  local code = CODES[job[1]]
  -- Ours to archive as cancelled; Go may have run and archived it since, at another second.
  if code == 7 and job[2] == '8' then
    local archived = tonumber(call('ZSCORE', P .. job[1], id) or -1)
    if archived == math.floor(tonumber(job[3]) / 1000000) then code = 8 end
  end
  return code
end

-- What a claim noted of a run.
local function run_in(text)
  if not text then return {} end
  local started, pending, created, place, server = text:match('^(%S+) (%S+) (%S+) (%d+) (.*)$')
  return { started = started, pending = pending, created = created, place = tonumber(place), server = server }
end

-- The moment, as text, at which Asynq's field says that a job came into line; nil: it does not say so.
local function moment_in(since)
  local text = since and since:sub(1, 1) ~= '+' and since:sub(1, -4)
  return tonumber(text or nil) and text or nil
end

-- The moment at which a job came into line, from its fields.
local function pending_at(since, kept, created)
  return tonumber(moment_in(since) or kept or created or now)
end

-- The same of a job that may have run.
local function came_at(id)
  local f = call('HMGET', task(id), 'pending_since', 'x:p', 'x:c', 'x:r')
  local run = run_in(f[4])
  return pending_at(f[1], f[2] or run.pending, f[3] or run.created)
end

-- The number of the run that holds a job.
local function attempt_of(id)
  local f = call('HMGET', task(id), 'msg', 'x:fx')
  return int(retried_in(f[1] or '') + tonumber(f[2] or 0) + 1)
end

-- What a run leaves in the hash when it ends and the job goes on or is kept.
local function close_run(id, fence)
  call('HSET', task(id), 'x:a', attempt_of(id), 'x:f', fence)
end

-- Above every turn and below every step of priority: scores of the lines are -priority * STEP + turn.
local STEP = 2 ^ 45

local function line_name(kind, suspect)
  return X .. (suspect and 'suspect:' or 'line:') .. kind
end

-- Stands a job in line. Plain ones go into Asynq's list, where Go sees them; what Asynq cannot express (a priority,
-- a suspect) stands in a line of ours, under a state word that Go leaves alone.
local function line_up(id, kind, priority, suspect, front)
  local word = 'pending'
  if suspect or priority ~= 0 then
    word = 'queued'
    local turn = call('HINCRBY', X .. 'q', front and 'front' or 'back', front and -1 or 1)
    call('ZADD', line_name(kind, suspect), -priority * STEP + turn, id)
    call('SADD', X .. (suspect and 'suspects' or 'lines'), kind)
  elseif front then
    call('RPUSH', P .. 'pending', id)
  else
    call('LPUSH', P .. 'pending', id)
  end
  call('HSET', task(id), 'state', word, 'pending_since', int(now) .. '000', 'x:u', int(now))
  call('HDEL', task(id), 'x:at')
end

local function leave_line(kind, suspect, id)
  local name = line_name(kind, suspect)
  call('ZREM', name, id)
  if call('EXISTS', name) == 0 then call('SREM', X .. (suspect and 'suspects' or 'lines'), kind) end
end

-- Takes a job out of the row of those who are blocked by a key.
local function leave_row(id, key)
  local row = X .. 'row:' .. key
  call('ZREM', row, id)
  if call('EXISTS', row) == 0 then call('SREM', X .. 'rows', key) end
end

-- Whoever has read a member before cannot flush it any more.
local function renumber(id)
  call('HSET', task(id), 'x:v', call('HINCRBY', X .. 'q', 'version', 1))
end

-- Puts a job into its group: Asynq's own set, with Asynq's score.
local function join(id, group)
  call('ZADD', P .. 'g:' .. group, seconds, id)
  call('SADD', P .. 'groups', group)
  call('HSET', task(id), 'state', 'aggregating', 'group', group, 'x:p', int(now), 'x:u', int(now))
  call('HDEL', task(id), 'x:at', 'pending_since')
  renumber(id)
end

-- Gives a scheduled or retrying job its time (as text, to the microsecond). Asynq's score is the whole second after
-- it, so that Go never runs it early.
local function wait_until(id, word, at)
  call('ZADD', P .. word, int(math.max(0, math.ceil(tonumber(at) / 1000000))), id)
  call('ZADD', X .. 'due', at, id)
  -- So that it is found before a flood of others.
  if tonumber(call('HGET', task(id), 'x:pr') or 0) > 0 then call('ZADD', X .. 'urgent', at, id) end
  call('HSET', task(id), 'state', word, 'x:at', at, 'x:u', int(now))
  call('HDEL', task(id), 'pending_since')
end

-- Frees the key of a job whose life is over, if it holds it.
local function free_key(id, key)
  if key and call('HGET', X .. 'unique', key) == id then call('HDEL', X .. 'unique', key) end
end

-- Frees Asynq's lock of a job whose life is over, if it holds it.
local function free_lock(id)
  local key = call('HGET', task(id), 'unique_key')
  if key and call('GET', key) == id then call('DEL', key) end
end

-- Takes a job out of what its state keeps it in. False: it is not there.
local function leave(id, word, kind, suspect)
  if word == 'pending' or word == 'queued' then
    local f = call('HMGET', task(id), 'pending_since', 'x:p', 'x:c', 'x:r')
    local run = run_in(f[4])
    local came = int(pending_at(f[1], f[2] or run.pending, f[3] or run.created))
    call('HSET', task(id), 'x:p', came, 'x:c', f[3] or run.created or came)
  end
  if word == 'pending' then return call('LREM', P .. 'pending', 1, id) > 0 end
  if word == 'queued' then
    leave_line(kind, suspect, id)
    return true
  end
  if word == 'active' then
    -- What was claimed first stands at the end, and lapses first.
    local there = call('LREM', P .. 'active', -1, id)
    call('ZREM', P .. 'lease', id)
    call('ZREM', X .. 'lease', id)
    return there > 0
  end
  if word == 'scheduled' or word == 'retry' then
    call('ZREM', X .. 'due', id)
    call('ZREM', X .. 'urgent', id)
  elseif word == 'completed' then
    call('ZREM', X .. 'ended:6', id)
    call('ZREM', X .. 'expire', id)
  elseif word == 'archived' or word == 'x:dead' then
    call('ZREM', X .. 'ended:7', id)
    call('ZREM', X .. 'ended:8', id)
  elseif word == 'x:blocked' then
    local key = call('HGET', task(id), 'x:ex')
    if key then leave_row(id, key) end
  elseif word == 'aggregating' then
    local group = call('HGET', task(id), 'group')
    if not group then return false end
    local there = call('ZREM', P .. 'g:' .. group, id)
    if call('EXISTS', P .. 'g:' .. group) == 0 then
      call('SREM', P .. 'groups', group)
      call('HDEL', X .. 'asked', group)
    end
    call('HDEL', task(id), 'group')
    return there > 0
  end
  return call('ZREM', P .. word, id) > 0
end

local function remove(id)
  free_key(id, call('HGET', task(id), 'x:uk'))
  free_lock(id)
  call('DEL', task(id))
  call('HINCRBY', X .. 'q', 'removed', 1)
end

-- The fields of a job that most scripts need. What is no hash has none.
local function load(id)
  local f = redis.pcall(
    'HMGET', task(id), 'state', 'msg', 'x:r', 'x:t', 'x:uk', 'x:c', 'x:pr', 'x:sus', 'pending_since', 'x:rt', 'x:ex'
  )
  if not f[2] then return nil end
  local run = run_in(f[3])
  return {
    word = f[1], message = f[2], kind = kind_in(f[2]), tenant = f[4] or nil, key = f[5] or nil,
    created = f[6] or run.created or moment_in(f[9]), priority = tonumber(f[7] or 0), suspect = f[8] == '1',
    since = f[9] or nil, retention = f[10] or nil, exclusive = f[11] or nil, run = run,
  }
end

-- The group that a job belongs into instead of in line: who has run alone goes on alone.
local function group_of(id, job)
  if job.run.started or call('HEXISTS', task(id), 'x:a') == 1 then return nil end
  return group_in(job.message)
end
