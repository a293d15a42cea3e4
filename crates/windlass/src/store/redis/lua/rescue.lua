-- rescue.lua: takes lapsed leases of one queue.
-- ARGV: how many of the lapsed to look at (0: only say how many have lapsed; at most 500), the most to take here, at how
--   many crashes a job is poison, and the ids that an earlier look has named (none: look)
-- returns: looking at 0: how many. Else 1, then for each job taken {id, kind, fence, attempt, code of its new state}, in
--   the order in which they had been claimed; or, where more have lapsed than are taken here, 0 and their ids in that order
-- guarantee: found lapsed and taken in one step, so a crash counts once; those that go on stand in front in their old
--   order, if the caller hands the last ids back first.
-- why: what Go holds is Go's: Asynq's own rules take it over (see recover.lua). An id that Go has taken meanwhile is only
-- dropped from our leases. Looking is cheap, taking is not: Redis serves nobody else while a script runs.
local window, most, poison_after = tonumber(take()), tonumber(take()), tonumber(take())
if window == 0 then return { call('ZCOUNT', X .. 'lease', '-inf', int(mono)) } end
local named = #ARGV > cursor
local lapsed = {}
local function find(id)
  -- What is no hash has no fields.
  local f = redis.pcall('HMGET', task(id), 'pending_since', 'state', 'x:r')
  if f[2] == 'active' and f[1] and f[1]:sub(1, 1) == '+' then
    lapsed[#lapsed + 1] = { id = id, fence = f[1]:sub(2), place = run_in(f[3]).place or 0 }
  else
    call('ZREM', X .. 'lease', id)
  end
end
if named then
  for at = cursor + 1, #ARGV do
    local till = call('ZSCORE', X .. 'lease', ARGV[at])
    if till and tonumber(till) <= mono then find(ARGV[at]) end
  end
else
  for _, id in ipairs(call('ZRANGEBYSCORE', X .. 'lease', '-inf', int(mono), 'LIMIT', 0, window)) do
    find(id)
  end
end
table.sort(lapsed, function(a, b)
  if a.fence ~= b.fence then return #a.fence < #b.fence or (#a.fence == #b.fence and a.fence < b.fence) end
  return a.place < b.place
end)
local answer = { 1 }
if not named and #lapsed > most then
  answer[1] = 0
  for at, entry in ipairs(lapsed) do
    answer[at + 1] = entry.id
  end
  return answer
end
local function rescue(entry)
  local id, job = entry.id, load(entry.id)
  -- Those that have waited longest for their end stand at the tail, and LREM walks the list.
  call('LREM', P .. 'active', -1, id)
  call('ZREM', P .. 'lease', id)
  call('ZREM', X .. 'lease', id)
  if not job then return nil end
  close_run(id, entry.fence)
  local f = call('HMGET', task(id), 'x:cr', 'x:a', 'x:wish', 'x:e')
  local crashes = tonumber(f[1] or 0) + 1
  call('HSET', task(id), 'x:cr', crashes)
  local message = 'the process that ran it vanished (server ' .. (job.run.server or '') .. ')'
  note(id, f[4], f[2] or '0', 'crash', message)
  local code = 0
  if f[3] then
    code = 8
    settle(id, 8, job, f[3], nil, f[3])
  elseif crashes >= poison_after then
    code = 7
    settle(id, 7, job, 'poison', nil, message)
  else
    local suspect = crashes + 1 >= poison_after
    if suspect then call('HSET', task(id), 'x:sus', '1') else call('HDEL', task(id), 'x:sus') end
    line_up(id, job.kind, job.priority, suspect, true)
  end
  if code ~= 0 then free(id, job.exclusive) end
  return { id, job.kind, entry.fence, f[2] or '0', code }
end
-- The last one to go to the front stands first.
for at = #lapsed, 1, -1 do
  local rescued = rescue(lapsed[at])
  if rescued then table.insert(answer, 2, rescued) end
end
write_counts()
if #answer > 1 then wake() end
return answer
