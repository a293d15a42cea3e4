-- lib.lua: what every script on one queue begins with. It is put before each of them; it does nothing by itself.
-- KEYS[1]: the queue's prefix, `asynq:{queue}:`. Every key touched begins with it, so all are in one cluster slot.
-- ARGV[1]: the wall clock in microseconds, for tests whose clock is moved by hand; empty: ask TIME.
-- ARGV[2]: what the caller expects the wall clock to show, by its own monotonic clock; empty: it does not know.
-- ARGV[3]: what to add to the wall clock to get the store's steady clock, by which leases go (see pulse.lua).
-- ARGV[4]: the highest number that the caller has been given as fence or place; new ones are above it.
-- why: numbers are doubles, exact up to 2^53: times are microseconds (exact until 2255), and a fence is one of them
-- with three zeros behind it, as text. Times beyond are kept as text beside the score.
local P = KEYS[1]
local call = redis.call
local X = P .. 'x:'

local now
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
else
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local seconds = math.floor(now / 1000000)
local offset = tonumber(ARGV[3])
local mono = now + offset
-- The wall clock was stepped since the caller last looked: the steady clock goes on as if it had not been.
if ARGV[2] ~= '' and math.abs(now - tonumber(ARGV[2])) > 500000 then
  mono = tonumber(ARGV[2]) + offset
end

local cursor = 4
local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end

local function int(number)
  if number >= 9.2e18 then return '9223372036854775807' end
  return string.format('%.0f', number)
end

-- The next `count` numbers above all that this queue and the caller have seen; gives the first of them.
local function rising(name, count)
  local last = tonumber(call('HGET', X .. 'q', name) or 0)
  local first = math.max(last, tonumber(ARGV[4]), now - 1) + 1
  call('HSET', X .. 'q', name, int(first + count - 1))
  return first
end

local function task(id)
  return P .. 't:' .. id
end

-- Protocol buffers, as far as Asynq's message needs them --------------------------------------------------------

local function varint(bytes, at)
  local value, weight = 0, 1
  while true do
    local byte = bytes:byte(at)
    if not byte then return nil, at end
    at = at + 1
    if byte < 128 then return value + byte * weight, at end
    value = value + (byte - 128) * weight
    weight = weight * 128
  end
end

local function to_varint(value)
  local bytes = {}
  while value >= 128 do
    bytes[#bytes + 1] = string.char(value % 128 + 128)
    value = math.floor(value / 128)
  end
  bytes[#bytes + 1] = string.char(value)
  return table.concat(bytes)
end

-- Walks the top-level fields: calls visit(number, wire, first byte, last byte, value or first byte of the content).
local function fields(message, visit)
  local at, length = 1, #message
  while at <= length do
    local first, tag = at, nil
    tag, at = varint(message, at)
    if not tag then return end
    local number, wire, value = math.floor(tag / 8), tag % 8, nil
    if wire == 0 then
      value, at = varint(message, at)
    elseif wire == 2 then
      local size
      size, at = varint(message, at)
      if not size then return end
      value, at = at, at + size
    elseif wire == 1 then
      at = at + 8
    elseif wire == 5 then
      at = at + 4
    else
      return
    end
    if visit(number, wire, first, at - 1, value) then return end
  end
end

-- The kind: field 1.
local function kind_in(message)
  local kind = ''
  fields(message, function(number, wire, _, last, value)
    if number == 1 and wire == 2 then
      kind = message:sub(value, last)
      return true
    end
  end)
  return kind
end

-- How often it failed: field 6, Asynq's `retried`.
local function retried_in(message)
  local retried = 0
  fields(message, function(number, wire, _, _, value)
    if number == 6 and wire == 0 then retried = value or 0 end
  end)
  return retried
end

-- How often it may fail again: field 5, Asynq's `retry`.
local function retry_in(message)
  local retry = 0
  fields(message, function(number, wire, _, _, value)
    if number == 5 and wire == 0 then retry = value or 0 end
  end)
  return retry
end

-- The group: field 14, or nil.
local function group_in(message)
  local group
  fields(message, function(number, wire, _, last, value)
    if number == 14 and wire == 2 then group = message:sub(value, last) end
  end)
  return group ~= '' and group or nil
end

-- The message with some fields put anew (number -> bytes, '' leaves it out), in order of their numbers. Fields that we
-- do not know stay.
local function splice(message, put)
  local parts = {}
  fields(message, function(number, _, first, last)
    if not put[number] then parts[#parts + 1] = { number, #parts, message:sub(first, last) } end
  end)
  for number, bytes in pairs(put) do
    parts[#parts + 1] = { number, #parts, bytes }
  end
  table.sort(parts, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  for place, part in ipairs(parts) do
    parts[place] = part[3]
  end
  return table.concat(parts)
end

-- A field of bytes (the tag's own byte and the content), or none if it is empty.
local function bytes_field(tag, content)
  return content ~= '' and tag .. to_varint(#content) .. content or ''
end

local function number_field(tag, number)
  return number > 0 and tag .. to_varint(number) or ''
end

-- The message with other outcomes: retried (6), error (7), last failure (11), completion (13). Nil: as it is.
local function rewrite(message, retried, failure, failed_at, completed_at)
  local put = {}
  if retried then put[6] = number_field('\48', retried) end
  if failure then put[7] = bytes_field('\58', failure) end
  if failed_at then put[11] = number_field('\88', failed_at) end
  if completed_at then put[13] = number_field('\104', completed_at) end
  return splice(message, put)
end

-- Writes a failure into the message, for Go's eyes, and when we did: one of another moment is Go's.
local function blame(id, message, retried, failure)
  local at = math.max(0, seconds)
  call('HSET', task(id), 'msg', rewrite(message, retried, failure, at, nil), 'x:em', at)
end

-- States ---------------------------------------------------------------------------------------------------------

local CODES = { pending = 0, queued = 0, scheduled = 1, aggregating = 3, active = 4, retry = 5, completed = 6, archived = 7, ['x:dead'] = 7 }

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

-- The moment in microseconds at which a job came into line, from its fields.
local function pending_at(since, kept, created)
  if since and since:sub(1, 1) ~= '+' and #since > 3 then return tonumber(since:sub(1, -4)) end
  return tonumber(kept or created or now)
end

-- Above every turn and below every step of priority: scores of the lines are -priority * STEP + turn.
local STEP = 2 ^ 45

local function line_name(kind, suspect)
  return X .. (suspect and 'suspect:' or 'line:') .. kind
end

local function wake()
  call('PUBLISH', X .. 'wake', '')
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
  call('HSET', task(id), 'state', word, 'x:at', at, 'x:u', int(now))
  call('HDEL', task(id), 'pending_since')
end

-- Frees the key of a job whose life is over, if it holds it.
local function free_key(id, key)
  if key and call('HGET', X .. 'unique', key) == id then call('HDEL', X .. 'unique', key) end
end

-- Takes a job out of what its state keeps it in. False: it is not there.
local function leave(id, word, kind, suspect)
  if word == 'pending' or word == 'queued' then
    local f = call('HMGET', task(id), 'pending_since', 'x:p', 'x:c')
    call('HSET', task(id), 'x:p', int(pending_at(f[1], f[2], f[3])))
  end
  if word == 'pending' then return call('LREM', P .. 'pending', 1, id) > 0 end
  if word == 'queued' then
    leave_line(kind, suspect, id)
    return true
  end
  if word == 'active' then
    local there = call('LREM', P .. 'active', 1, id)
    call('ZREM', P .. 'lease', id)
    call('ZREM', X .. 'lease', id)
    return there > 0
  end
  if word == 'scheduled' or word == 'retry' then
    call('ZREM', X .. 'due', id)
  elseif word == 'completed' then
    call('ZREM', X .. 'ended:6', id)
    call('ZREM', X .. 'expire', id)
  elseif word == 'archived' or word == 'x:dead' then
    call('ZREM', X .. 'ended:7', id)
    call('ZREM', X .. 'ended:8', id)
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
  local keys = call('HMGET', task(id), 'x:uk', 'unique_key')
  free_key(id, keys[1])
  if keys[2] and call('GET', keys[2]) == id then call('DEL', keys[2]) end
  call('DEL', task(id))
  call('ZREM', X .. 'index', id)
  call('HINCRBY', X .. 'q', 'removed', 1)
end

-- Statistics -----------------------------------------------------------------------------------------------------

local tallies, tenants = {}, {}
local processed, failures = 0, 0

local function add(where, name, what, count)
  local field = name .. '\n' .. what
  where[field] = (where[field] or 0) + count
end

-- The slot of a histogram: see stats.rs.
local function slot(micros)
  if micros < 4 then return math.floor(micros) end
  local _, exponent = math.frexp(micros)
  exponent = exponent - 1
  return (exponent - 1) * 4 + math.floor(micros / 2 ^ (exponent - 2)) % 4
end

local ENDS = { [5] = 'r', [6] = 'c', [7] = 'd', [8] = 'x' }

-- Counts a job's arrival in a state, and the run that led there, if there was one.
local function count(kind, tenant, code, waited, ran, lifetime)
  add(tallies, kind, ENDS[code], 1)
  if tenant then add(tenants, tenant, ENDS[code], 1) end
  if not waited then
    -- A member of a group that became another job has lived, but not run.
    if code == 6 then
      add(tallies, kind, 't', lifetime)
      if tenant then add(tenants, tenant, 't', lifetime) end
    end
    return
  end
  add(tallies, kind, 'w' .. slot(waited), 1)
  add(tallies, kind, 'n' .. slot(ran), 1)
  if code == 6 then
    add(tallies, kind, 't', lifetime)
    if tenant then add(tenants, tenant, 't', lifetime) end
  end
end

local function date()
  local days = math.floor(seconds / 86400) + 719468
  local era = math.floor(days / 146097)
  local doe = days - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format('%04d-%02d-%02d', yoe + era * 400 + (month <= 2 and 1 or 0), month, day)
end

local function bump(name, by)
  if by == 0 then return end
  local daily = P .. name .. ':' .. date()
  if call('INCRBY', daily, by) == by then call('EXPIRE', daily, 7776000) end
  call('INCRBY', P .. name, by)
end

-- Writes what was counted: our minute buckets, and Asynq's counters.
local function write_counts()
  local minute = math.floor(seconds / 60)
  local any = false
  for name, what in pairs({ ['tally:'] = tallies, ['tenants:'] = tenants }) do
    local key
    for field, by in pairs(what) do
      key = X .. name .. int(minute)
      call('HINCRBY', key, field, int(by))
      any = true
    end
    if key then call('EXPIRE', key, 3110400) end
  end
  if any then call('ZADD', X .. 'minutes', minute, minute) end
  bump('processed', processed)
  bump('failed', failures)
end

-- What runs say of themselves ------------------------------------------------------------------------------------

-- Reads what a run says at one time from the arguments.
local function take_news()
  local news = {
    number = tonumber(take()), has_progress = take() == '1', fraction = take(), message = take(),
    has_checkpoint = take() == '1', checkpoint = take(), lines = {},
  }
  for at = 1, tonumber(take()) do
    news.lines[at] = { take(), take() }
  end
  return news
end

-- Notes it with the job that this fence holds: each number of a run once, and none that comes after a later one.
local function note_news(id, fence, news)
  local f = call('HMGET', task(id), 'x:said', 'x:a', 'x:lg', 'x:ln')
  if f[1] then
    local of, last = f[1]:match('^(%d+) (%d+)$')
    if of == fence and tonumber(last) >= news.number then return end
  end
  call('HSET', task(id), 'x:said', fence .. ' ' .. int(news.number))
  if news.has_progress then call('HSET', task(id), 'x:pf', news.fraction, 'x:pm', news.message) end
  if news.has_checkpoint then call('HSET', task(id), 'x:ck', news.checkpoint) end
  if #news.lines == 0 then return end
  local log, number = f[3] or '', tonumber(f[4] or 0)
  for _, line in ipairs(news.lines) do
    number = number + 1
    log = log .. line[1] .. '\1' .. (f[2] or '0') .. '\1' .. int(number) .. '\1' .. line[2] .. '\0'
  end
  local _, lines = log:gsub('%z', '')
  while lines > 100 do
    log = log:sub(log:find('%z') + 1)
    lines = lines - 1
  end
  call('HSET', task(id), 'x:lg', log, 'x:ln', int(number))
end

-- Ends of lives --------------------------------------------------------------------------------------------------

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

-- How long a completed job is kept, in microseconds as text. A job of Go's says so in its message, in seconds.
local function retention_of(job)
  if job.retention then return job.retention end
  local kept = '0'
  fields(job.message, function(number, wire, _, _, value)
    if number == 12 and wire == 0 and value then kept = int(value * 1000000) end
  end)
  return kept
end

-- Ends a job's life in a state (6 completed, 7 dead, 8 cancelled). `run`: waited and ran, if a run led there.
-- `job`: kind, tenant, unique key, created at, message, and (completed) retention.
local function settle(id, code, job, reason, run, failure)
  free_key(id, job.key)
  local lifetime = math.max(0, now - tonumber(job.created or now))
  count(job.kind, job.tenant, code, run and run.waited, run and run.ran, lifetime)
  if code == 6 then
    local key = call('HGET', task(id), 'unique_key')
    if key and call('GET', key) == id then call('DEL', key) end
    if tonumber(job.retention) == 0 then
      call('DEL', task(id))
      call('ZREM', X .. 'index', id)
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

-- Coming in ------------------------------------------------------------------------------------------------------

-- Reads one new job from the arguments.
local function take_job()
  return {
    id = take(), message = take(), start = take(), at = take(), priority = tonumber(take()), mode = take(),
    key = take(), ttl = take(), options = take(), kind = take(), tenant = take(), retention = take(),
    group = take(),
  }
end

-- Who is in the way of a new job: {id, state or -1}, or nil.
local function in_the_way(job)
  local state = state_of(job.id)
  if state then return { job.id, state } end
  if job.mode == 'u' then
    local holder = call('HGET', X .. 'unique', job.key)
    local held = holder and state_of(holder)
    if held and held < 6 then return { holder, held } end
  elseif job.mode == 'i' then
    local held = call('HGET', X .. 'once', job.key)
    if held then
      local expires, holder = held:match('^(%d+) (.*)$')
      if tonumber(expires) > now then return { holder, state_of(holder) or -1 } end
    end
  end
  return nil
end

-- Takes an id out of wherever it stands: what stood under it was no job, or had been removed (see marks.lua).
local function take_off(id)
  for _, list in ipairs({ 'pending', 'active' }) do
    call('LREM', P .. list, 0, id)
  end
  for _, set in ipairs({ 'lease', 'scheduled', 'retry', 'archived', 'completed', 'x:dead', 'x:deleted', 'x:lease', 'x:due' }) do
    call('ZREM', P .. set, id)
  end
end

-- Makes a job durable under the number `place`, or answers who is in its way.
local function enqueue(job, place)
  local other = in_the_way(job)
  if other then return other end
  local key = task(job.id)
  if call('DEL', key) == 1 then take_off(job.id) end
  call('HSET', key, 'msg', job.message, 'x:c', int(now), 'x:u', int(now), 'x:k', job.kind)
  if job.priority ~= 0 then call('HSET', key, 'x:pr', job.priority) end
  if job.options ~= '' then call('HSET', key, 'x:o', job.options) end
  if job.tenant ~= '' then call('HSET', key, 'x:t', job.tenant) end
  if job.retention ~= '0' then call('HSET', key, 'x:rt', job.retention) end
  if job.mode == 'u' then
    call('HSET', key, 'x:uk', job.key)
    call('HSET', X .. 'unique', job.key, job.id)
  elseif job.mode == 'i' then
    local expires = now + tonumber(job.ttl)
    call('HSET', X .. 'once', job.key, int(expires) .. ' ' .. job.id)
    call('ZADD', X .. 'once:due', expires, job.key)
  end
  call('ZADD', X .. 'index', place, job.id)
  call('SADD', X .. 'kinds', job.kind)
  local at = now
  if job.start == 'a' then at = tonumber(job.at) elseif job.start == 'i' then at = now + tonumber(job.at) end
  if at > now then
    -- Go's forwarder looks here for the group, and lets it join only if the group is known.
    if job.group ~= '' then
      call('HSET', key, 'group', job.group)
      call('SADD', P .. 'groups', job.group)
    end
    wait_until(job.id, 'scheduled', job.start == 'a' and job.at or int(at))
  elseif job.group ~= '' then
    join(job.id, job.group)
  else
    line_up(job.id, job.kind, job.priority, false, false)
  end
  return nil
end

-- The group that a job belongs into instead of in line: who has run alone goes on alone.
local function group_of(id, job)
  if call('HEXISTS', task(id), 'x:a') == 1 then return nil end
  return group_in(job.message)
end

-- Leaves a job for another queue in the outbox.
local function post(target, letter)
  local number = call('HINCRBY', X .. 'q', 'letters', 1)
  call('ZADD', X .. 'out:' .. target, number, number .. ':' .. letter)
  call('SADD', X .. 'outs', target)
end

-- The fields of a job that most scripts need.
local function load(id)
  local f = call('HMGET', task(id), 'state', 'msg', 'x:k', 'x:t', 'x:uk', 'x:c', 'x:pr', 'x:sus', 'pending_since', 'x:rt')
  if not f[2] then return nil end
  return {
    word = f[1], message = f[2], kind = f[3] or kind_in(f[2]), tenant = f[4] or nil, key = f[5] or nil, created = f[6] or nil,
    priority = tonumber(f[7] or 0), suspect = f[8] == '1', since = f[9] or nil, retention = f[10] or nil,
  }
end

-- When a member of a group came in. Go notes the second, as the score.
local function came_in(id, score)
  local f = call('HMGET', task(id), 'x:p', 'x:c')
  return tonumber(f[1] or f[2] or score * 1000000)
end

-- The members of a group that have waited longest, the oldest first: {id, when it came, its place}. Of those that stand
-- first by the second, which is Asynq's order, and then by id; the ids that we make rise with time.
local function oldest_members(group, limit)
  local found = {}
  local first = call('ZRANGE', P .. 'g:' .. group, 0, 499, 'WITHSCORES')
  for at = 1, #first, 2 do
    local id = first[at]
    local place = tonumber(call('ZSCORE', X .. 'index', id) or 0)
    found[#found + 1] = { id = id, at = came_in(id, tonumber(first[at + 1])), place = place }
  end
  table.sort(found, function(a, b)
    if a.at ~= b.at then return a.at < b.at end
    return a.place < b.place
  end)
  while #found > limit do
    found[#found] = nil
  end
  return found
end
