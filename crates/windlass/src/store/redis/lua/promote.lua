-- promote.lua: puts due jobs of one queue into line, at its end, the earliest first; a scheduled member of a group that
-- has never run goes into its group instead, and who is not the holder of its exclusive key is blocked.
-- ARGV: 1: move them, 0: only look; the most to move (at most 120) of those with a priority above zero, and of the others
-- returns: how many were moved; microseconds until the next one is due that is not due yet (-1: none); 1 if any is due;
--   how many stand in line with a priority above zero, and without; 1 if somebody is blocked; and (looking) for each that
--   is due its time, its place in the order of enqueueing, and 1 if its priority is above zero
-- guarantee: each job moves once; what Go moved, ran or deleted meanwhile is left alone.
-- why: those with a priority stand in a set of their own beside the others, or a flood would have to come in before them.
local moving, rooms, moved = take() == '1', { [true] = tonumber(take()), [false] = tonumber(take()) }, 0
local SETS = { { X .. 'due', 1 }, { X .. 'urgent', 1 }, { P .. 'scheduled', 1000000 }, { P .. 'retry', 1000000 } }

-- The due entries of a set, the earliest first; those of one time in the order of their ids, which for those that we
-- make is that in which they came in.
local AT_ONCE = 120
local function due_of(set, unit, seen)
  local found = call('ZRANGEBYSCORE', set, '-inf', int(math.floor(now / unit)), 'WITHSCORES', 'LIMIT', 0, AT_ONCE)
  for at = 1, #found, 2 do
    seen[found[at]] = seen[found[at]] or tonumber(found[at + 1]) * unit
  end
end

local function out_of_all(id)
  for _, set in ipairs(SETS) do
    call('ZREM', set[1], id)
  end
end

-- A time of ours counts as long as Asynq's score is the whole second after it: Go may have run the job since, and put it
-- off to another one.
local function still_counts(id, at)
  local word = redis.pcall('HGET', task(id), 'state')
  if word ~= 'scheduled' and word ~= 'retry' then return true end
  local score = call('ZSCORE', P .. word, id)
  return not score or tonumber(score) == math.max(0, math.ceil(at / 1000000))
end

local seen, urgent, due = {}, {}, {}
due_of(X .. 'urgent', 1, urgent)
due_of(X .. 'due', 1, seen)
for id, at in pairs(urgent) do
  seen[id] = at
end
for id, at in pairs(seen) do
  if not still_counts(id, at) then
    seen[id] = nil
    call('ZREM', X .. 'due', id)
    call('ZREM', X .. 'urgent', id)
  end
end
-- What a Go client or worker put there has whole seconds and no time of ours.
due_of(P .. 'scheduled', 1000000, seen)
due_of(P .. 'retry', 1000000, seen)
for id, at in pairs(seen) do
  local word = redis.pcall('HGET', task(id), 'state')
  if word == 'scheduled' or word == 'retry' then
    local place = tonumber(call('HGET', task(id), 'x:n') or 0)
    due[#due + 1] = { id = id, at = at, word = word, place = place, urgent = urgent[id] ~= nil }
  else
    out_of_all(id)
  end
end
table.sort(due, function(a, b)
  if a.at ~= b.at then return a.at < b.at end
  if a.place ~= b.place then return a.place < b.place end
  return a.id < b.id
end)

-- Beside those that are due, the holders of exclusive keys may be looked at: no more than 500 jobs in all.
local looks = 500 - #due
local function promote(id, word)
  local job = load(id)
  if job and job.exclusive then
    if looks == 0 then return end
    looks = looks - 1
  end
  call('ZREM', P .. word, id)
  call('ZREM', X .. 'due', id)
  call('ZREM', X .. 'urgent', id)
  if not job then return end
  local group = word == 'scheduled' and group_of(id, job)
  if group then
    join(id, group)
  else
    call('HDEL', task(id), 'group')
    ready(id, job)
  end
  moved = moved + 1
end

-- How many stand in line: with a priority above zero, and without. Suspects do not count, as nobody is behind them.
local function standing()
  local front, others = 0, call('LLEN', P .. 'pending')
  for _, kind in ipairs(call('SMEMBERS', X .. 'lines')) do
    local line = X .. 'line:' .. kind
    local many = call('ZCOUNT', line, '-inf', int(-STEP / 2))
    front, others = front + many, others + call('ZCARD', line) - many
  end
  return front, others
end

local answer = {}
for _, job in ipairs(due) do
  if not moving then
    answer[#answer + 1] = int(job.at)
    answer[#answer + 1] = int(job.place)
    answer[#answer + 1] = job.urgent and 1 or 0
  elseif rooms[job.urgent] > 0 then
    rooms[job.urgent] = rooms[job.urgent] - 1
    promote(job.id, job.word)
  end
end
local next_due, any_due = -1, 0
for _, set in ipairs(SETS) do
  local first = call('ZRANGE', set[1], 0, 0, 'WITHSCORES')
  if first[1] and tonumber(first[2]) * set[2] <= now then
    any_due = 1
    first = call('ZRANGEBYSCORE', set[1], '(' .. int(math.floor(now / set[2])), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  end
  if first[1] then
    local left = tonumber(first[2]) * set[2] - now
    if next_due < 0 or left < next_due then next_due = left end
  end
end
if moved > 0 then wake() end
local front, others = standing()
local blocked = call('EXISTS', X .. 'rows')
for at, number in ipairs({ moved, int(next_due), any_due, front, others, blocked }) do
  table.insert(answer, at, number)
end
return answer
