-- operate.lua: does something to one job, if it still is in the state that the caller saw.
-- ARGV: id, code of that state, action (cancel, bury, redrive, run, reschedule, edit, delete), text (reason; new payload;
--   moment or wait), kind of the moment (`a`: at, `i`: in, else now)
-- returns: {code of its state now}; {-1}: there is no such job; {-2}: it was removed; {-3, holder}: its key is held
--   by another job; {-4, code}: it is in another state; a running one that is told to stop: {4, fence}
-- guarantee: the state is checked in the step that changes it.
-- why: a job in a list of more than 10,000 is cancelled, buried or removed by a mark, without a scan: see marks.lua.
local id, seen, action, text, start = take(), tonumber(take()), take(), take(), take()
local code = state_of(id)
if not code then return { -1 } end
if code ~= seen then return { -4, code } end
local marked = call('HEXISTS', task(id), 'x:gone') == 1
if marked and action ~= 'delete' then marked = take_from_go(id) end
local job = load(id)
if action == 'edit' then
  local message = splice(job.message, { [2] = bytes_field('\18', text) })
  call('HSET', task(id), 'msg', message, 'x:u', int(now))
  -- They belong to the payload that was.
  call('HDEL', task(id), 'x:pf', 'x:pm', 'x:ck')
  if code == 3 then renumber(id) end
  return { code }
elseif code == 4 then
  -- A wish; the holder hears of it by the log.
  call('HSET', task(id), 'x:wish', text)
  -- Go knows no wishes: it ends such a run as failed, and the sweep ends the job then (see recover.lua).
  local fence = job.since and job.since:match('^%+(%d+)$')
  if not fence then call('SADD', X .. 'wishes', id) end
  return { 4, fence or '0' }
end
-- It is in line or running no more.
local function let_go()
  if code == 0 then free(id, job.exclusive) end
end
if action == 'delete' and marked then
  discard(id)
  wake()
  return { -2 }
end
local long = job.word == 'pending' and not marked and call('LLEN', P .. 'pending') > LONG
if long and action == 'delete' then
  mark(id, 9, job)
  let_go()
  wake()
  return { -2 }
elseif long and (action == 'cancel' or action == 'bury') then
  local to = action == 'cancel' and 8 or 7
  mark(id, to, job, to == 8 and text or 'buried')
  let_go()
  write_counts()
  wake()
  return { to }
end
if action == 'delete' then
  leave(id, job.word, job.kind, job.suspect)
  remove(id)
  let_go()
  wake()
  return { -2 }
end
if code >= 7 and job.key then
  local holder = call('HGET', X .. 'unique', job.key)
  local held = holder and holder ~= id and state_of(holder)
  if held and held < 6 then return { -3, holder } end
  call('HSET', X .. 'unique', job.key, id)
end
if marked then
  unmark(id)
  job.message = call('HGET', task(id), 'msg')
  for ended = 7, 8 do
    call('ZREM', X .. 'ended:' .. ended, id)
  end
else
  leave(id, job.word, job.kind, job.suspect)
end
if code >= 7 then call('HDEL', task(id), 'x:why', 'x:d', 'x:end') end
local to = 0
if action == 'cancel' then
  to = 8
  free_lock(id)
  settle(id, 8, job, text, nil, text)
  let_go()
elseif action == 'bury' then
  to = 7
  -- What it failed with last stays to be seen, also by Go.
  settle(id, 7, job, 'buried', nil, nil)
  let_go()
elseif action == 'reschedule' then
  to = 1
  local at = int(now)
  if start == 'a' then at = text elseif start == 'i' then at = int(now + tonumber(text)) end
  wait_until(id, 'scheduled', at)
  let_go()
else
  if action == 'redrive' then
    call('HDEL', task(id), 'x:fx', 'x:cr', 'x:sus')
    call('HSET', task(id), 'msg', rewrite(job.message, 0, nil, nil, nil))
    job.suspect = false
  end
  local group = action == 'redrive' and group_of(id, job)
  if group then
    if marked then call('LREM', P .. 'pending', 0, id) end
    join(id, group)
    wake()
    return { 3 }
  end
  -- It runs alone from here on.
  call('HDEL', task(id), 'group')
  if marked and kept_out(id, job.exclusive, job.priority) then
    call('LREM', P .. 'pending', 0, id)
    wake()
    return { 2 }
  elseif marked then
    -- It still stands in line.
    call('HSET', task(id), 'pending_since', int(now) .. '000', 'x:u', int(now))
    wake()
    return { to }
  end
  to = ready(id, job)
end
write_counts()
wake()
return { to }
