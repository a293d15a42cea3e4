-- rescue.lua: takes lapsed leases of one queue.
-- ARGV: the most to take (0: only say how many have lapsed, at most 500), at how many crashes a job is poison
-- returns: limit 0: how many. Else for each job {id, kind, fence, attempt, code of its new state}, in the order in which
--   they had been claimed
-- guarantee: found and taken in one step, so a crash counts once; those that go on stand in front in their old order.
-- why: what Go holds is Go's: Asynq's own rules take it over (see heal.lua). An id that Go has taken meanwhile is only
-- dropped from our leases.
local limit, poison_after = tonumber(take()), tonumber(take())
if limit == 0 then return { call('ZCOUNT', X .. 'lease', '-inf', int(mono)) } end
local lapsed = {}
for _, id in ipairs(call('ZRANGEBYSCORE', X .. 'lease', '-inf', int(mono), 'LIMIT', 0, 500)) do
  local f = call('HMGET', task(id), 'pending_since', 'state', 'x:r')
  if f[2] == 'active' and f[1] and f[1]:sub(1, 1) == '+' then
    lapsed[#lapsed + 1] = { id = id, fence = f[1]:sub(2), place = run_in(f[3]).place or 0 }
  else
    call('ZREM', X .. 'lease', id)
  end
end
table.sort(lapsed, function(a, b)
  if a.fence ~= b.fence then return #a.fence < #b.fence or (#a.fence == #b.fence and a.fence < b.fence) end
  return a.place < b.place
end)
local answer = {}
local function rescue(entry)
  local id, job = entry.id, load(entry.id)
  leave(id, 'active')
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
  return { id, job.kind, entry.fence, f[2] or '0', code }
end
-- The last one to go to the front stands first: so they keep their order.
for at = math.min(#lapsed, limit), 1, -1 do
  local rescued = rescue(lapsed[at])
  if rescued then table.insert(answer, 1, rescued) end
end
write_counts()
if #answer > 0 then wake() end
return answer
