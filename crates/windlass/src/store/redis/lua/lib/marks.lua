-- marks.lua: jobs that were taken out of a long list without a scan of it. Needs core.lua, message.lua, states.lua, and
-- for `mark` stats.lua.
-- why: LREM walks the list. So such a job stays where it stands and is marked: `x:gone` in its hash is the code of the
-- state that it really has (9: removed), and its message says that its deadline has passed and its retries are used up.
-- A claim of ours drops it; Go archives it without calling its handler. What the message said is kept in `x:g` and the
-- number of the field. `x:cancelled` and `x:deleted` hold the ids.

-- A list is long beyond this.
local LONG = 10000

-- A top-level field of a message as it stands, or nothing.
local function raw_field(message, wanted)
  local found = ''
  fields(message, function(number, _, first, last)
    if number == wanted then found = found .. message:sub(first, last) end
  end)
  return found
end

-- The fields that a mark changes, or Go's report on a marked job: retries, last error, deadline, when it failed last.
local KEPT = { 5, 7, 9, 11 }

-- The message as it was before the mark.
local function unmarked(id, message)
  local put = {}
  for _, field in ipairs(KEPT) do
    put[field] = call('HGET', task(id), 'x:g' .. field) or ''
  end
  return splice(message, put)
end

-- What all our sets say of a marked job that is removed.
local function strike(id)
  for code = 7, 8 do
    call('ZREM', X .. 'ended:' .. code, id)
  end
  call('ZREM', X .. 'cancelled', id)
  call('HINCRBY', X .. 'q', 'removed', 1)
end

-- Ends (7, 8) or removes (9) a job that stands in the list, and leaves it there.
local function mark(id, code, job, reason)
  local message, came = job.message, int(came_at(id))
  for _, field in ipairs(KEPT) do
    call('HSET', task(id), 'x:g' .. field, raw_field(message, field))
  end
  local given_up = { [5] = number_field('\40', retried_in(message)), [9] = number_field('\72', 1) }
  -- What it was cancelled for is for Go's eyes.
  if code == 8 then given_up[7] = bytes_field('\58', reason) end
  call('HSET', task(id), 'msg', splice(message, given_up), 'x:gone', code, 'x:d', int(now), 'x:u', int(now), 'x:p', came,
    'x:c', job.created or came)
  free_key(id, job.key)
  -- A dead one keeps it until its time is over, as in Go.
  if code ~= 7 then free_lock(id) end
  if code == 9 then
    strike(id)
    call('ZADD', X .. 'deleted', now, id)
    return
  end
  count(job.kind, job.tenant, code, nil, nil, 0)
  call('HSET', task(id), 'x:end', code, 'x:why', reason)
  call('ZADD', X .. 'cancelled', now, id)
  call('ZADD', X .. 'ended:' .. code, now, id)
end

-- Takes the mark off again. The job stands where it stood.
local function unmark(id)
  call('HSET', task(id), 'msg', unmarked(id, call('HGET', task(id), 'msg')))
  call('HDEL', task(id), 'x:gone')
  for _, field in ipairs(KEPT) do
    call('HDEL', task(id), 'x:g' .. field)
  end
  call('ZREM', X .. 'cancelled', id)
end

-- Gives a marked job that stands in line no longer the place of its state: among the archived, from when it ended.
local function put_away(id)
  local f = call('HMGET', task(id), 'x:gone', 'x:d', 'x:why')
  if f[1] == '9' then
    call('DEL', task(id))
    call('ZREM', P .. 'archived', id)
    call('ZREM', X .. 'deleted', id)
    return
  end
  unmark(id)
  local ended = math.floor(tonumber(f[2]) / 1000000)
  if f[1] == '8' then
    local at = math.max(0, ended)
    local message = rewrite(call('HGET', task(id), 'msg'), nil, f[3] or '', at, nil)
    call('HSET', task(id), 'msg', message, 'x:em', at)
  end
  call('HSET', task(id), 'state', 'archived')
  call('HDEL', task(id), 'pending_since')
  call('ZADD', P .. 'archived', ended, id)
end

-- A marked job that Go holds or has archived gets its place at once; Go's own report on it then finds nothing to end.
-- True: it still stands in line.
local function take_from_go(id)
  local word = call('HGET', task(id), 'state')
  if word == 'pending' then return true end
  if word == 'active' then
    call('LREM', P .. 'active', 1, id)
    call('ZREM', P .. 'lease', id)
  end
  put_away(id)
  return false
end

-- Removes a marked job that has ended.
local function discard(id)
  strike(id)
  if take_from_go(id) then
    call('HSET', task(id), 'x:gone', 9)
    call('ZADD', X .. 'deleted', now, id)
  else
    call('DEL', task(id))
    call('ZREM', P .. 'archived', id)
  end
end
