-- finish.lua: applies reports on runs of one queue's jobs, each fenced by its lease. The plainest go to complete.lua.
-- ARGV: how many (with their followers at most 500, or a single one), then for each: id, fence, verdict (complete,
--   retry, snooze, release, bury, cancel), its number (microseconds to wait; bury: 1 counts as a failure) and text
--   (reason), error class and message ('' and '': none), 1 and the result or 0 and '', microseconds it ran, how many
--   news and those (see report.lua), how many jobs follow in this queue and those (see intake.lua; '': another queue
--   holds it or its key), how many letters to other queues and those (target, letter)
-- returns: now, highest number given, for each the code of the job's new state or -1 (stale), then how many letters
--   stand in the outbox
-- guarantee: a report is applied only if the job's newest claim is the one it names and Go has not taken the job; its
--   followers come in with it or not at all. So does the next with its exclusive key.
local answer, letters, ended = { int(now), ARGV[4] }, 0, false
local short = call('LLEN', P .. 'pending') < 64
local top = tonumber(ARGV[4])

local function held(id, fence)
  -- A task that is no hash any more has no fence, and costs the others nothing.
  if redis.pcall('HGET', task(id), 'pending_since') ~= '+' .. fence then return nil end
  if not call('ZSCORE', P .. 'lease', id) then return nil end
  -- Go's zombie may have taken it out of the list alone.
  if call('LREM', P .. 'active', 1, id) == 0 then return nil end
  call('ZREM', P .. 'lease', id)
  call('ZREM', X .. 'lease', id)
  return load(id)
end

-- What Go's cancel asks for: a failed attempt like any other, and Asynq's own pause before the next.
local function as_go(id, job, verdict, value, text)
  if verdict ~= 'cancel' or call('HGET', task(id), 'x:gc') ~= call('HGET', task(id), 'x:f') then
    return verdict, value, text
  end
  local retried = retried_in(job.message)
  if retried >= retry_in(job.message) then return 'bury', '1', 'exhausted' end
  return 'retry', gos_pause(retried), ''
end

local function apply(id, job, verdict, value, text, failure, ran)
  local f = call('HMGET', task(id), 'x:wish', 'x:sn')
  verdict, value, text = as_go(id, job, verdict, value, text)
  local waited = tonumber(job.run.started or now) - tonumber(job.run.pending or now)
  local run = { waited = math.max(0, waited), ran = tonumber(ran) }
  if f[1] and (verdict == 'retry' or verdict == 'snooze' or verdict == 'release') then verdict, text = 'cancel', f[1] end
  if verdict == 'complete' then
    job.retention = retention_of(job)
    processed = processed + 1
    settle(id, 6, job, nil, run)
    return 6
  elseif verdict == 'retry' then
    blame(id, job.message, retried_in(job.message) + 1, failure)
    wait_until(id, 'retry', int(now + tonumber(value)))
    count(job.kind, job.tenant, 5, run.waited, run.ran)
    processed, failures = processed + 1, failures + 1
    return 5
  elseif verdict == 'snooze' then
    call('HSET', task(id), 'x:sn', tonumber(f[2] or 0) + 1)
    wait_until(id, 'scheduled', int(now + tonumber(value)))
    return 1
  elseif verdict == 'release' then
    line_up(id, job.kind, job.priority, job.suspect, true)
    return 0
  end
  processed, failures = processed + 1, failures + 1
  if verdict == 'bury' then
    if value == '1' then call('HINCRBY', task(id), 'x:fx', 1) end
    settle(id, 7, job, text, run, failure ~= '' and failure or text)
    return 7
  end
  settle(id, 8, job, text, run, failure ~= '' and failure or text)
  return 8
end

local function finish()
  local id, fence, verdict, value, text = take(), take(), take(), take(), take()
  local class, message, has_result, result, ran = take(), take(), take() == '1', take(), take()
  local said, followers, outgoing = {}, {}, {}
  for place = 1, tonumber(take()) do
    said[place] = take_news()
  end
  for place = 1, tonumber(take()) do
    followers[place] = take()
  end
  for place = 1, tonumber(take()) do
    outgoing[place] = { take(), take() }
  end
  local job = held(id, fence)
  if not job then return -1 end
  close_run(id, fence)
  for _, news in ipairs(said) do
    note_news(id, fence, news)
  end
  if class ~= '' then
    local e = call('HMGET', task(id), 'x:e', 'x:a')
    note(id, e[1], e[2] or '0', class, message)
  end
  if has_result then call('HSET', task(id), 'result', result) end
  local code = apply(id, job, verdict, value, text, message, ran)
  if code >= 6 then ended = true end
  -- Before its followers, which come behind those who waited.
  if code ~= 0 and free(id, job.exclusive) then ended = true end
  if #followers > 0 then
    local place = rising('place', #followers)
    for at, follower in ipairs(followers) do
      if follower ~= '' then enqueue(cmsgpack.unpack(follower), place + at - 1) end
      -- At once: what another report cannot do must not cost this one its followers.
      take_in()
    end
    top = math.max(top, place + #followers - 1)
  end
  for _, letter in ipairs(outgoing) do
    top = math.max(top, post(letter[1], letter[2]))
    letters = letters + 1
  end
  return code
end

for number = 1, tonumber(take()) do
  answer[#answer + 1] = finish()
end
write_counts()
answer[2] = int(top)
answer[#answer + 1] = letters
if short or ended then wake() end
return answer
