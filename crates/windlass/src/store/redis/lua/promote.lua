-- promote.lua: puts due jobs of one queue into line, at its end, the earliest first; a scheduled member of a group that
-- has never run goes into its group instead.
-- ARGV: the most to move (at most 160), 1: move them, 0: only look
-- returns: how many were moved, microseconds until the next one is due (0: now; -1: nothing waits), and (looking) for
--   each that is due its time and its place in the order of enqueueing
-- guarantee: each job moves once; what Go moved, ran or deleted meanwhile is left alone.
local limit, moving, moved = tonumber(take()), take() == '1', 0

-- The due entries of a set, the earliest first; those of one time in the order of their ids, which for those that we
-- make is that in which they came in.
local AT_ONCE = 160
local function due_of(set, unit, seen)
  local found = call('ZRANGEBYSCORE', set, '-inf', int(math.floor(now / unit)), 'WITHSCORES', 'LIMIT', 0, AT_ONCE)
  for at = 1, #found, 2 do
    seen[found[at]] = seen[found[at]] or tonumber(found[at + 1]) * unit
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

local seen, due = {}, {}
due_of(X .. 'due', 1, seen)
for id, at in pairs(seen) do
  if not still_counts(id, at) then
    seen[id] = nil
    call('ZREM', X .. 'due', id)
  end
end
-- What a Go client or worker put there has whole seconds and no time of ours.
due_of(P .. 'scheduled', 1000000, seen)
due_of(P .. 'retry', 1000000, seen)
for id, at in pairs(seen) do
  local word = redis.pcall('HGET', task(id), 'state')
  if word == 'scheduled' or word == 'retry' then
    due[#due + 1] = { id = id, at = at, word = word, place = tonumber(call('HGET', task(id), 'x:n') or 0) }
  else
    for _, set in ipairs({ X .. 'due', P .. 'scheduled', P .. 'retry' }) do
      call('ZREM', set, id)
    end
  end
end
table.sort(due, function(a, b)
  if a.at ~= b.at then return a.at < b.at end
  if a.place ~= b.place then return a.place < b.place end
  return a.id < b.id
end)

local function promote(id, word)
  local job = load(id)
  call('ZREM', P .. word, id)
  call('ZREM', X .. 'due', id)
  if not job then return end
  local group = word == 'scheduled' and group_of(id, job)
  if group then
    join(id, group)
  else
    call('HDEL', task(id), 'group')
    line_up(id, job.kind, job.priority, job.suspect, false)
  end
  moved = moved + 1
end

local answer = {}
for at = 1, math.min(limit, #due) do
  if moving then
    promote(due[at].id, due[at].word)
  else
    answer[#answer + 1] = int(due[at].at)
    answer[#answer + 1] = int(due[at].place)
  end
end
local next_due = -1
for name, unit in pairs({ [X .. 'due'] = 1, [P .. 'scheduled'] = 1000000, [P .. 'retry'] = 1000000 }) do
  local first = call('ZRANGE', name, 0, 0, 'WITHSCORES')
  if first[1] then
    local left = math.max(0, tonumber(first[2]) * unit - now)
    if next_due < 0 or left < next_due then next_due = left end
  end
end
if moved > 0 then wake() end
table.insert(answer, 1, int(next_due))
table.insert(answer, 1, moved)
return answer
