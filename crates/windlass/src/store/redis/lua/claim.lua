-- claim.lua: takes pending jobs of one queue for a server.
-- ARGV: the server, its claim's number, pass (1: the first look of this claim at this queue, 2: leftovers, 3: further
--   back in the list), the most
--   jobs (at most 500), lease in microseconds, 1 to take one suspect and nothing else, the most jobs of kinds that are
--   not quick, how many quick kinds and those, how many rules, then for each rule: '=' (exact) or '^' (prefix), its
--   text, how many jobs of its kinds may be taken (-1: any), 1 if there was room when the claim began
-- returns: now, highest number given, how the claim stands (`new`, `again`: it had been made, `late`: a later one
--   was), the fence, microseconds that the oldest suspect has waited (-1: none) and its place, 1 if jobs of its kinds may stand further back,
--   then each job: {id, message, fence,
--   attempt, failures, crashes, snoozes, created at, waited, options, checkpoint (behind a `1`, or empty)}, the last
--   one with the slots and the rooms that are left
-- guarantee: a job goes to one claim only. The claim's number is kept in the same step, so a repeat gets the same jobs,
--   those that are still held, with their leases renewed.
-- why: Go pops from the right of the list; kinds that this server does not handle are left where they stand, and no
--   more than WINDOW jobs are looked at for them. So that what stands behind more of them than that is found as well, a
--   third look goes on where the server's last one stopped, up to DEEPEST, and then begins again: after a PAUSE
--   of microseconds, since claims come with every hint. Nothing else moves.
local WINDOW, DEEPEST, PAUSE = 500, 100000, 250000
local server, number, pass, limit = take(), tonumber(take()), tonumber(take()), tonumber(take())
local lease, want_suspect, slots = tonumber(take()), take() == '1', tonumber(take())
local quick, rules, everything = {}, {}, false
for _ = 1, tonumber(take()) do
  quick[take()] = true
end
local many = tonumber(take())
for at = 1, many do
  local how, text, room = take(), take(), tonumber(take())
  rules[at] = { exact = how == '=', text = text, room = room < 0 and math.huge or room, open = take() == '1' }
end
everything = many == 1 and not rules[1].exact and rules[1].text == '' and rules[1].room == math.huge

-- A hash without a message is no job: its task was evicted, or Go wrote into one that had gone.
local function is_there(id)
  return call('HEXISTS', task(id), 'msg') == 1
end

-- More jobs of a kind that is not quick than there are slots would only wait there.
local function has_room(kind, rule)
  return rule.room > 0 and (slots > 0 or quick[kind])
end

-- The rule for a kind: an exact one, else the longest prefix; of equal ones the last.
local known = {}
local function rule_of(kind)
  local found = known[kind]
  if found == nil then
    local best = -1
    found = false
    for _, rule in ipairs(rules) do
      local rank = rule.exact and (rule.text == kind and math.huge or -1)
        or (kind:sub(1, #rule.text) == rule.text and #rule.text or -1)
      if rank >= 0 and rank >= best then found, best = rule, rank end
    end
    known[kind] = found
  end
  return found
end

local FIELDS = { 'msg', 'x:fx', 'x:cr', 'x:sn', 'x:c', 'x:p', 'x:o', 'pending_since', 'x:a', 'x:f', 'x:s', 'x:srv', 'x:ck' }
local function row(id, f, fence, attempt, waited)
  return { id, f[1], fence, attempt, attempt - 1, f[3] or 0, f[4] or 0, f[5], waited, f[7] or '', f[13] and '1' .. f[13] or '' }
end

local function renewed(fences)
  local jobs = {}
  for fence in fences:gmatch('%d+') do
    local held = call('SMEMBERS', X .. 'claim:' .. fence)
    local found = {}
    for _, id in ipairs(held) do
      local f = call('HMGET', task(id), unpack(FIELDS))
      if f[8] == '+' .. fence and call('ZSCORE', P .. 'lease', id) then
        local place = tonumber(call('HGET', task(id), 'x:i') or 0)
        local waited = math.max(0, tonumber(f[11]) - tonumber(f[6]))
        found[#found + 1] = { place, row(id, f, fence, tonumber(f[9]), int(waited)) }
        call('ZADD', X .. 'lease', int(mono + lease), id)
        call('ZADD', P .. 'lease', seconds + 30, id)
      end
    end
    table.sort(found, function(a, b) return a[1] < b[1] end)
    for _, job in ipairs(found) do
      jobs[#jobs + 1] = job[2]
    end
  end
  return jobs
end

local record = call('HGET', X .. 'claims', server)
local last, last_fences
if record then
  local text
  text, last_fences = record:match('^(%d+) %d+ ?(.*)$')
  last = tonumber(text)
  if number < last then return { int(now), ARGV[4], 'late', '0', -1, 0, 0 } end
  if number == last and pass == 1 then
    local answer = { int(now), ARGV[4], 'again', '0', -1, 0, 0 }
    for _, job in ipairs(renewed(last_fences)) do
      answer[#answer + 1] = job
    end
    return answer
  end
  if number > last then
    for fence in last_fences:gmatch('%d+') do
      call('DEL', X .. 'claim:' .. fence)
    end
    last_fences = ''
  end
end

local function head_of(prefix, set)
  local heads = {}
  for _, kind in ipairs(call('SMEMBERS', X .. set)) do
    local rule = rule_of(kind)
    if rule and rule.open then
      local first = call('ZRANGE', X .. prefix .. kind, 0, 0, 'WITHSCORES')
      if first[1] then heads[kind] = { id = first[1], score = tonumber(first[2]), kind = kind, rule = rule } end
    end
  end
  return heads
end

local paused = call('EXISTS', P .. 'paused') == 1
local suspects, waiting, oldest = {}, -1, nil
if not paused then
  suspects = head_of('suspect:', 'suspects')
  for kind, head in pairs(suspects) do
    if not is_there(head.id) then
      leave_line(kind, true, head.id)
      suspects[kind] = nil
    end
  end
  for _, head in pairs(suspects) do
    local f = call('HMGET', task(head.id), 'pending_since', 'x:p', 'x:c')
    local since = pending_at(f[1], f[2], f[3])
    local place = tonumber(call('ZSCORE', X .. 'index', head.id) or 0)
    if not oldest or since < oldest.since or (since == oldest.since and place < oldest.place) then
      oldest = { since = since, place = place, id = head.id, kind = head.kind }
    end
  end
  if oldest then waiting = math.max(0, now - oldest.since) end
end

local picked, taken = {}, {}
local function pick(id, kind, rule)
  picked[#picked + 1] = id
  taken[id] = true
  rule.room = rule.room - 1
  if not quick[kind] then slots = slots - 1 end
end

-- Takes from a line of ours as long as its heads stand before (or behind) the list.
local lines
local function take_lines(front)
  lines = lines or head_of('line:', 'lines')
  while #picked < limit do
    local best
    for _, head in pairs(lines) do
      if has_room(head.kind, head.rule) and (not front or head.score <= STEP / 2) and (not best or head.score < best.score) then best = head end
    end
    if not best then return end
    leave_line(best.kind, false, best.id)
    if is_there(best.id) and call('HGET', task(best.id), 'state') == 'queued' then pick(best.id, best.kind, best.rule) end
    local first = call('ZRANGE', X .. 'line:' .. best.kind, 0, 0, 'WITHSCORES')
    if first[1] then
      lines[best.kind] = { id = first[1], score = tonumber(first[2]), kind = best.kind, rule = best.rule }
    else
      lines[best.kind] = nil
    end
  end
end

-- What stands in the list must be pending, have a message and stand there once; anything else is a ghost and falls out,
-- and so does what was only marked as taken out.
local dropped = 0
local function pending_kind(id)
  local f = call('HMGET', task(id), 'state', 'x:k', 'x:gone')
  local there = is_there(id)
  if taken[id] or f[3] or not there or f[1] ~= 'pending' then
    dropped = dropped + 1
    if f[3] then put_away(id) elseif not there then call('DEL', task(id)) end
    return nil
  end
  return f[2] or kind_in(call('HGET', task(id), 'msg'))
end

-- As many as there are slots for, whatever their kinds: straight off the end of the list.
local left_to_look = WINDOW
local function take_any()
  while left_to_look > 0 do
    local room = math.min(limit - #picked, slots, left_to_look)
    local popped = room > 0 and call('RPOP', P .. 'pending', room)
    if not popped then return end
    left_to_look = left_to_look - #popped
    for _, id in ipairs(popped) do
      local kind = pending_kind(id)
      if kind then pick(id, kind, rules[1]) end
    end
  end
end

-- Looks through the end of the list, takes what it may, and leaves the others as they stood.
local function take_some()
  if left_to_look <= 0 then return end
  local ids = call('LRANGE', P .. 'pending', -left_to_look, -1)
  local passed, kept, through, left = 0, {}, 0, 0
  for at = #ids, 1, -1 do
    if #picked >= limit then break end
    passed = passed + 1
    local kind = pending_kind(ids[at])
    local rule = kind and rule_of(kind)
    if rule and has_room(kind, rule) then
      pick(ids[at], kind, rule)
      through, left = passed, #kept
    elseif kind then
      kept[#kept + 1] = ids[at]
    else
      through, left = passed, #kept
    end
  end
  if through == 0 then return end
  call('RPOP', P .. 'pending', through)
  local back = {}
  for at = left, 1, -1 do
    back[#back + 1] = kept[at]
  end
  if left > 0 then call('RPUSH', P .. 'pending', unpack(back)) end
end

-- Looks through the next stretch of the list that is not at its end. What it takes is overwritten by a word that is no
-- id, and all of those go at once, so the list is walked once, and not for every job.
local TAKEN = '\0taken'
local function last_look()
  local from, at = (call('HGET', X .. 'looks', server) or ''):match('^(%d+) (%d+)$')
  return tonumber(from or WINDOW), tonumber(at or 0)
end

local function has_any_room()
  for _, rule in ipairs(rules) do
    if rule.room > 0 then return slots > 0 or next(quick) end
  end
  return false
end

local function take_far()
  local length = call('LLEN', P .. 'pending')
  local from = last_look()
  if from >= length or from >= DEEPEST then from = WINDOW end
  local ids = call('LRANGE', P .. 'pending', -from - WINDOW, -from - 1)
  local gone, passed = 0, 0
  for at = #ids, 1, -1 do
    if #picked >= limit then break end
    local kind = pending_kind(ids[at])
    local rule = kind and rule_of(kind)
    local taking = rule and has_room(kind, rule)
    if taking then pick(ids[at], kind, rule) end
    if taking or not kind then
      call('LSET', P .. 'pending', -from - passed - 1, TAKEN)
      gone = gone + 1
    end
    passed = passed + 1
  end
  if gone > 0 then call('LREM', P .. 'pending', -gone, TAKEN) end
  local to = from + passed - gone
  local ended = to >= length - gone or to >= DEEPEST
  -- Where it found something, there may be more.
  call('HSET', X .. 'looks', server, int(ended and WINDOW or to) .. ' ' .. (gone > 0 and '0' or int(now)))
  return not ended
end

local function take_list()
  if everything then take_any() end
  if #picked < limit and (not everything or next(quick)) then take_some() end
end

local further = false
if not paused and want_suspect then
  if oldest and limit > 0 then
    leave_line(oldest.kind, true, oldest.id)
    picked = { oldest.id }
  end
elseif not paused and limit > 0 and pass == 3 then
  further = take_far()
elseif not paused and limit > 0 then
  if call('EXISTS', X .. 'lines') == 1 then take_lines(true) end
  if #picked < limit then take_list() end
  if #picked < limit and call('EXISTS', X .. 'lines') == 1 then take_lines(false) end
  if not everything and #picked < limit and has_any_room() and call('LLEN', P .. 'pending') > WINDOW then
    local _, at = last_look()
    further = math.abs(now - at) >= PAUSE
  end
  -- Behind what fell out may stand what it was asked for.
  if dropped > 0 and #picked < limit and call('EXISTS', P .. 'pending') == 1 then wake() end
end

further = further and #picked < limit and 1 or 0
local answer = { int(now), ARGV[4], 'new', '0', int(waiting), int(oldest and oldest.place or 0), further }
local fences = record and last_fences or ''
if #picked > 0 then
  local micros = rising('fence', 1)
  local fence = int(micros) .. '000'
  answer[2], answer[4] = int(micros), fence
  local due = seconds + 30
  for place, id in ipairs(picked) do
    local key = task(id)
    local f = call('HMGET', key, unpack(FIELDS))
    local since = pending_at(f[8], f[6], f[5])
    if not f[5] then f[5] = int(since) end
    -- At the first run nothing has failed, unless Go ran it.
    local failures = retried_in(f[1]) + tonumber(f[2] or 0)
    call('HSET', key, 'state', 'active', 'pending_since', '+' .. fence, 'x:f', fence, 'x:a', failures + 1, 'x:s', int(now),
      'x:u', int(now), 'x:srv', server, 'x:p', int(since), 'x:c', f[5], 'x:i', place)
    call('LPUSH', P .. 'active', id)
    call('ZADD', P .. 'lease', due, id)
    call('ZADD', X .. 'lease', int(mono + lease), id)
    call('SADD', X .. 'claim:' .. fence, id)
    answer[#answer + 1] = row(id, f, fence, failures + 1, int(math.max(0, now - since)))
  end
  answer[#answer][12] = slots
  for at, rule in ipairs(rules) do
    answer[#answer][12 + at] = rule.room == math.huge and -1 or rule.room
  end
  call('EXPIRE', X .. 'claim:' .. fence, 3600)
  fences = fences .. (fences ~= '' and ',' or '') .. fence
end
call('HSET', X .. 'claims', server, number .. ' ' .. int(mono) .. ' ' .. fences)
return answer
