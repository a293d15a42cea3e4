-- claim.lua: takes pending jobs of one queue for a server.
-- ARGV[5]: msgpack: the server, its claim's number, pass (1: the first look of this claim at this queue, 2: leftovers,
--   3: further back in the list), the most jobs (at most 500), lease in microseconds, 1 to take one suspect and nothing
--   else, the most jobs of kinds that are not quick, the list of quick kinds, the list of rules, each: `=` (exact) or
--   `^` (prefix), its text, how many jobs of its kinds may be taken (-1: any), 1 if there was room when the claim began
-- returns: msgpack, one list: now, highest number given, how the claim stands (`new`, `again`: it had been made,
--   `late`: a later one was), microseconds that the oldest suspect has waited (-1: none) and its place, 1 if jobs of its
--   kinds may stand further back, the slots that are left, how many rules and the room that each has left, then for each
--   job: id, fence, message, created at, waited, and '' or msgpack: options, checkpoint, failures beyond Asynq's,
--   crashes, snoozes
-- guarantee: a job goes to one claim only. The claim's number is kept in the same step, so a repeat gets the same jobs,
--   those that are still held, with their leases renewed.
-- why: Go pops from the right of the list; kinds that this server does not handle are left where they stand, and no
--   more than WINDOW jobs are looked at for them. So that what stands behind more of them than that is found as well, a
--   third look goes on where the server's last one stopped, up to DEEPEST, and then begins again: after a PAUSE
--   of microseconds, since claims come with every hint. Nothing else moves.
local WINDOW, DEEPEST, PAUSE = 500, 100000, 250000
local asked = cmsgpack.unpack(ARGV[5])
local server, number, pass, limit, lease = asked[1], asked[2], asked[3], asked[4], asked[5]
local want_suspect, slots = asked[6] == 1, asked[7]
local quick, rules = {}, {}
for _, kind in ipairs(asked[8]) do
  quick[kind] = true
end
for at, rule in ipairs(asked[9]) do
  local room = rule[3] < 0 and math.huge or rule[3]
  rules[at] = { exact = rule[1] == '=', text = rule[2], room = room, open = rule[4] == 1 }
end

local function answer_of(standing, waiting, place, further)
  local answer = { now, tonumber(ARGV[4]), standing, waiting, place, further, slots, #rules }
  for _, rule in ipairs(rules) do
    answer[#answer + 1] = rule.room == math.huge and -1 or rule.room
  end
  return answer
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

-- What a job has beyond a plain one that is in line for the first time: what the claim answers of it, when it came into
-- line and when it was created, as far as its fields say.
local function more_of(key)
  local f = call('HMGET', key, 'x:o', 'x:ck', 'x:fx', 'x:cr', 'x:sn', 'x:p', 'x:c', 'x:r', 'x:u')
  local run = run_in(f[8])
  if f[6] or f[9] then call('HDEL', key, 'x:p', 'x:u') end
  local more = { f[1] or '', f[2] and '1' .. f[2] or '', tonumber(f[3] or 0), tonumber(f[4] or 0), tonumber(f[5] or 0) }
  return cmsgpack.pack(more), f[6] or run.pending, f[7] or run.created
end

-- The jobs of claims, in the order in which they were taken, as far as they are still held.
local function renew(fences, answer)
  for fence in fences:gmatch('%d+') do
    local ids = call('GET', X .. 'claim:' .. fence)
    for _, id in ipairs(ids and cmsgpack.unpack(ids) or {}) do
      local f = redis.pcall('HMGET', task(id), 'pending_since', 'msg', 'x:r')
      if f[1] == '+' .. fence and f[2] and call('ZSCORE', P .. 'lease', id) then
        local run = run_in(f[3])
        local waited = math.max(0, tonumber(run.started) - tonumber(run.pending))
        for _, value in ipairs({ id, fence, f[2], run.created, waited, (more_of(task(id))) }) do
          answer[#answer + 1] = value
        end
        call('ZADD', X .. 'lease', int(mono + lease), id)
        call('ZADD', P .. 'lease', seconds + 30, id)
      end
    end
  end
  return answer
end

local fences, record = '', call('HGET', X .. 'claims', server)
if record then
  local last, last_fences = record:match('^(%d+) %d+ ?(.*)$')
  last = tonumber(last)
  if number < last then return cmsgpack.pack(answer_of('late', -1, 0, 0)) end
  if number == last and pass == 1 then return cmsgpack.pack(renew(last_fences, answer_of('again', -1, 0, 0))) end
  if number == last then
    fences = last_fences
  else
    for fence in last_fences:gmatch('%d+') do
      call('DEL', X .. 'claim:' .. fence)
    end
  end
end

-- A hash without a message is no job: its task was evicted, or Go wrote into one that had gone. What is no hash at all is
-- none either, and stops nobody: here and below it fails the one command, and has no fields.
local function is_there(id)
  return redis.pcall('HEXISTS', task(id), 'msg') == 1
end

-- Whether another holds the exclusive key of a job in line, which then waits behind that one. Go does not ask when it puts
-- a retry back into line, or runs a blocked job.
local function must_wait(id, key)
  local holder = key and call('HGET', SLOTS, key)
  if not key or holder == id then return false end
  if holder and holds(holder, key) then
    block(id, key, tonumber(call('HGET', task(id), 'x:pr') or 0))
    return true
  end
  call('HSET', SLOTS, key, id)
  return false
end

-- The first of each of our lines whose kind is handled here.
local function heads_of(prefix, set)
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

-- The suspect that has waited longest.
local function oldest_suspect()
  local oldest
  for kind, head in pairs(heads_of('suspect:', 'suspects')) do
    if not is_there(head.id) then
      leave_line(kind, true, head.id)
    else
      local since, place = came_at(head.id), tonumber(call('HGET', task(head.id), 'x:n') or 0)
      if not oldest or since < oldest.since or (since == oldest.since and place < oldest.place) then
        oldest = { since = since, place = place, id = head.id, kind = kind }
      end
    end
  end
  return oldest
end

-- What was picked: ids, the message of each, and of a plain job what Asynq says of when it came into line.
local picked, messages, plain = {}, {}, {}
local function pick(id, message, kind, rule, since)
  picked[#picked + 1] = id
  messages[id], plain[id] = message, since
  rule.room = rule.room - 1
  if not quick[kind] then slots = slots - 1 end
end

-- Takes from a line of ours as long as its heads stand before (or behind) the list.
local lines
local function take_lines(front)
  lines = lines or heads_of('line:', 'lines')
  while #picked < limit do
    local best
    for _, head in pairs(lines) do
      local may = has_room(head.kind, head.rule) and (not front or head.score <= STEP / 2)
      if may and (not best or head.score < best.score) then best = head end
    end
    if not best then return end
    leave_line(best.kind, false, best.id)
    local f = redis.pcall('HMGET', task(best.id), 'state', 'msg', 'x:ex')
    if f[1] == 'queued' and f[2] and not must_wait(best.id, f[3]) then pick(best.id, f[2], best.kind, best.rule) end
    local first = call('ZRANGE', X .. 'line:' .. best.kind, 0, 0, 'WITHSCORES')
    if first[1] then
      lines[best.kind] = { id = first[1], score = tonumber(first[2]), kind = best.kind, rule = best.rule }
    else
      lines[best.kind] = nil
    end
  end
end

-- The message of what stands in the list, and of a plain job when it came into line. It must be pending, have a message
-- and stand there once; anything else is a ghost and falls out, and so does what was only marked as taken out. If a hash
-- of three fields and perhaps its place holds `pending_since` without our `+`, it is in line.
local dropped = 0
local function pending_message(id, key)
  local known_fields = redis.pcall('HLEN', key)
  if type(known_fields) ~= 'number' then
    dropped = dropped + 1
    return nil
  end
  local marked = known_fields > 4 and call('HEXISTS', key, 'x:gone') == 1
  local message = not marked and not messages[id] and call('HGET', key, 'msg')
  if message then
    local few = known_fields == 3 or known_fields == 4 and call('HEXISTS', key, 'x:n') == 1
    local since = few and call('HGET', key, 'pending_since')
    if since and since:byte() ~= 43 then return message, since end
    local f = call('HMGET', key, 'state', 'x:ex')
    if f[1] == 'pending' and not must_wait(id, f[2]) then return message end
  end
  dropped = dropped + 1
  if marked then put_away(id) elseif not message and not messages[id] then call('DEL', key) end
  return nil
end

-- Looks at the end of the list, and further if others stand in between; takes what it may, and leaves the others as
-- they stood.
local function take_list()
  local kept, looked, through, left = {}, 0, 0, 0
  while looked < WINDOW and #picked < limit and (slots > 0 or next(quick)) do
    local many = math.min(WINDOW - looked, math.max(limit - #picked, looked))
    local ids = call('LRANGE', P .. 'pending', -looked - many, -looked - 1)
    for at = #ids, 1, -1 do
      if #picked >= limit then break end
      looked = looked + 1
      local id = ids[at]
      local key = task(id)
      local message, since = pending_message(id, key)
      local kind = message and kind_in(message)
      local rule = kind and rule_of(kind)
      if rule and has_room(kind, rule) then
        pick(id, message, kind, rule, since)
        through, left = looked, #kept
      elseif kind then
        kept[#kept + 1] = id
      else
        through, left = looked, #kept
      end
    end
    if #ids < many then break end
  end
  if through == 0 then return end
  call('LTRIM', P .. 'pending', 0, -through - 1)
  local back = {}
  for at = left, 1, -1 do
    back[#back + 1] = kept[at]
  end
  if left > 0 then call('RPUSH', P .. 'pending', unpack(back)) end
end

local function last_look()
  local from, at = (call('HGET', X .. 'looks', server) or ''):match('^(%d+) (%d+)$')
  return tonumber(from or WINDOW), tonumber(at or 0)
end

-- Looks through the next stretch of the list that is not at its end. What it takes is overwritten by a word that is no
-- id, and all of those go at once, so the list is walked once, and not for every job. True: there is more behind it.
local TAKEN = '\0taken'
local function take_far()
  local length = call('LLEN', P .. 'pending')
  local from = last_look()
  if from >= length or from >= DEEPEST then from = WINDOW end
  local ids = call('LRANGE', P .. 'pending', -from - WINDOW, -from - 1)
  local gone, passed = 0, 0
  for at = #ids, 1, -1 do
    if #picked >= limit then break end
    local message, since = pending_message(ids[at], task(ids[at]))
    local kind = message and kind_in(message)
    local rule = kind and rule_of(kind)
    local taking = rule and has_room(kind, rule)
    if taking then pick(ids[at], message, kind, rule, since) end
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

-- Whether it is time to look further back.
local function may_look_further()
  local open = false
  for _, rule in ipairs(rules) do
    open = open or rule.room > 0
  end
  if not open or slots <= 0 or #picked >= limit or call('LLEN', P .. 'pending') <= WINDOW then return false end
  local _, at = last_look()
  return math.abs(now - at) >= PAUSE
end

-- Hands what was picked to this claim, under one fence.
local function start(answer)
  local micros = rising('fence', 1)
  local fence, started = int(micros) .. '000', int(now)
  local due, until_then = int(seconds + 30), int(mono + lease)
  local go_leases, leases = {}, {}
  answer[2] = micros
  for place, id in ipairs(picked) do
    local key, since = task(id), plain[id]
    local pending = moment_in(since or call('HGET', key, 'pending_since'))
    local more, kept, created = '', nil, nil
    if not since then
      more, kept, created = more_of(key)
    end
    pending = pending or kept or created or started
    created = created or pending
    call('HSET', key, 'state', 'active', 'pending_since', '+' .. fence, 'x:r',
      started .. ' ' .. pending .. ' ' .. created .. ' ' .. place .. ' ' .. server)
    go_leases[2 * place - 1], go_leases[2 * place] = due, id
    leases[2 * place - 1], leases[2 * place] = until_then, id
    local at = #answer
    answer[at + 1], answer[at + 2], answer[at + 3], answer[at + 4] = id, fence, messages[id], created
    answer[at + 5], answer[at + 6] = math.max(0, now - tonumber(pending)), more
  end
  call('LPUSH', P .. 'active', unpack(picked))
  call('ZADD', P .. 'lease', unpack(go_leases))
  call('ZADD', X .. 'lease', unpack(leases))
  call('SET', X .. 'claim:' .. fence, cmsgpack.pack(picked), 'EX', 3600)
  fences = fences .. (fences ~= '' and ',' or '') .. fence
end

local oldest, further
if call('EXISTS', P .. 'paused') == 0 then
  oldest = oldest_suspect()
  if want_suspect then
    local f = oldest and limit > 0 and call('HMGET', task(oldest.id), 'msg', 'x:ex')
    local message = f and f[1]
    if message then leave_line(oldest.kind, true, oldest.id) end
    if message and not must_wait(oldest.id, f[2]) then
      picked, messages[oldest.id] = { oldest.id }, message
    end
  elseif limit > 0 and pass == 3 then
    further = take_far()
  elseif limit > 0 then
    local ours = call('EXISTS', X .. 'lines') == 1
    if ours then take_lines(true) end
    take_list()
    if ours then take_lines(false) end
    further = may_look_further()
    -- Behind what fell out may stand what it was asked for.
    if dropped > 0 and #picked < limit and call('EXISTS', P .. 'pending') == 1 then wake() end
  end
end
local waiting = oldest and math.max(0, now - oldest.since) or -1
local answer = answer_of('new', waiting, oldest and oldest.place or 0, further and #picked < limit and 1 or 0)
if #picked > 0 then start(answer) end
call('HSET', X .. 'claims', server, number .. ' ' .. int(mono) .. ' ' .. fences)
return cmsgpack.pack(answer)
