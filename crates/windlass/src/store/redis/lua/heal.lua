-- heal.lua: looks through the next stretch of each set of a queue for what should not be, and puts it right: what an
-- eviction, a fail-over or a restore left, what Asynq's scripts left half-done, what our sets say of jobs that Go has
-- deleted or ended anew since.
-- ARGV: the most entries to look at (at most 500)
-- returns: the highest number given, how many entries were put right
-- guarantee: nothing is removed that is a job: a task without a message is none. Jobs that stand nowhere get a place by
--   their state again. Whole rounds take as many calls as the largest set needs; sets of ours get half of each call.
-- why: scores and words are Asynq's, so damage of either side looks alike. Ids deeper in the list than NEAR wait until
--   they have come nearer, since a removal walks the list.
local room, healed, fresh = tonumber(take()), 0, {}
local NEAR = 10000

local function fixed()
  healed = healed + 1
end

local function forget(id)
  call('DEL', task(id))
  fixed()
end

-- What Go brought in gets a place in listings, a few at a time: most are gone before anybody lists them.
local function place(id)
  if #fresh < 60 and not is_listed(id) then fresh[#fresh + 1] = id end
end

-- Something else than a hash: it is nobody's to read or delete, and its id falls out.
local function is_foreign(id)
  return type(redis.pcall('HLEN', task(id))) == 'table'
end

local seen = {}
local function in_line(id)
  if is_foreign(id) then
    call('LREM', P .. 'pending', -1, id)
    return fixed()
  end
  local f = call('HMGET', task(id), 'state', 'msg')
  if f[1] ~= 'pending' or not f[2] or seen[id] then
    call('LREM', P .. 'pending', -1, id)
    if not f[2] then forget(id) else fixed() end
  end
  seen[id] = true
end

local function waiting(id, _, word)
  local f = call('HMGET', task(id), 'state', 'msg')
  if not f[2] or f[1] ~= word then
    call('ZREM', P .. word, id)
    if not f[2] then forget(id) else fixed() end
  else
    place(id)
  end
end

-- What we have noted of an end goes by that end; one that Go brought about is noted as far as Asynq tells.
local function note_end(id, score, word)
  local code = state_of(id)
  local ours = X .. 'ended:' .. code
  local noted = call('ZSCORE', ours, id)
  if noted and (code == 6 or math.floor(tonumber(noted) / 1000000) == tonumber(score)) then return end
  if code == 7 then call('ZREM', X .. 'ended:8', id) end
  local at = word == 'completed' and number_in(call('HGET', task(id), 'msg'), 13) or tonumber(score)
  call('ZADD', ours, int(at * 1000000), id)
end

local function over(id, score, word)
  local f = call('HMGET', task(id), 'state', 'msg', 'x:gone')
  if not f[2] then
    call('ZREM', P .. word, id)
    return forget(id)
  elseif f[3] and f[1] == word then
    put_away(id)
    return fixed()
  elseif f[1] == 'active' and word == 'archived' and is_archived(id, f[1]) then
    call('HSET', task(id), 'state', word)
    fixed()
  elseif f[1] ~= word then
    call('ZREM', P .. word, id)
    return fixed()
  end
  place(id)
  note_end(id, score, word)
end

local function noted(id, score, name)
  if ended_in(id, name, tonumber(score)) then return end
  call('ZREM', X .. name, id)
  fixed()
end

local function marked(id, _, name)
  local f = call('HMGET', task(id), 'x:gone', 'state')
  if not f[1] or (name == 'deleted') ~= (f[1] == '9') then
    call('ZREM', X .. name, id)
    fixed()
  elseif f[2] == 'archived' then
    put_away(id)
    fixed()
  end
end

local function blocked(id, turn, word)
  local f = call('HMGET', task(id), 'state', 'msg', 'x:ex', 'x:pr')
  if not f[2] or f[1] ~= word then
    call('ZREM', P .. word, id)
    if not f[2] then forget(id) else fixed() end
  elseif f[3] then
    local row = X .. 'row:' .. f[3]
    local lost = not call('ZSCORE', row, id)
    if lost then call('ZADD', row, -tonumber(f[4] or 0) * STEP + tonumber(turn), id) end
    if call('SADD', X .. 'rows', f[3]) == 1 or lost then fixed() end
  end
end

local function due(id, _, name)
  local word = call('HGET', task(id), 'state')
  if word == 'scheduled' or word == 'retry' then return end
  call('ZREM', X .. name, id)
  fixed()
end

-- A job that Go's worker lost may be gone when that worker wakes and writes its result into nothing: then the id would be
-- taken for ever. Who sleeps longer than a day is not waited for.
local function zombie(id, score, name)
  local key = task(id)
  if call('HEXISTS', key, 'msg') == 0 and call('DEL', key) == 1 then fixed() end
  if now - tonumber(score) > 86400000000 then call('ZREM', X .. name, id) end
end

-- Seconds of a moment of ours, or now.
local function second(micros)
  return micros and int(math.max(0, math.ceil(tonumber(micros) / 1000000))) or seconds
end

-- A job that stands nowhere: Asynq's scripts can take it out of one place and stop before they put it into the next.
local function stray(id, word, due_at, ended_at)
  if word == 'active' then
    if not is_archived(id, word) or call('ZSCORE', P .. 'archived', id) then return end
    -- It is taken over like any other whose holder is gone.
    call('LPUSH', P .. 'active', id)
    call('ZADD', P .. 'lease', seconds, id)
    return fixed()
  end
  if call('ZSCORE', P .. word, id) then return end
  local message = call('HGET', task(id), 'msg')
  if word == 'archived' or word == 'x:dead' then
    call('HSET', task(id), 'state', 'x:dead')
    call('ZADD', P .. 'x:dead', ended_at and math.floor(tonumber(ended_at) / 1000000) or seconds, id)
  elseif word == 'x:blocked' then
    call('ZADD', P .. word, call('HINCRBY', X .. 'q', 'back', 1), id)
  elseif word == 'completed' then
    call('ZADD', P .. word, int(number_in(message, 13) + number_in(message, 12)), id)
  else
    call('ZADD', P .. word, second(due_at), id)
  end
  fixed()
end

local SETS = {
  scheduled = true, retry = true, completed = true, archived = true, ['x:dead'] = true, ['x:blocked'] = true, active = true,
}
local function known(id)
  local f = call('HMGET', task(id), 'state', 'x:gone', 'x:at', 'x:d', 'x:ex')
  -- Whose note is lost holds its key again.
  if f[5] and holds(id, f[5]) and call('HSETNX', SLOTS, f[5], id) == 1 then fixed() end
  if f[2] or not SETS[f[1]] or call('HEXISTS', task(id), 'msg') == 0 then return end
  stray(id, f[1], f[3], f[4])
end

local theirs = {
  { P, 'scheduled', waiting }, { P, 'retry', waiting }, { P, 'archived', over }, { P, 'x:dead', over },
  { P, 'completed', over }, { P, 'x:blocked', blocked },
}
local ours = {
  { X, 'ended:6', noted }, { X, 'ended:7', noted }, { X, 'ended:8', noted }, { X, 'expire', noted },
  { X, 'cancelled', marked }, { X, 'deleted', marked }, { X, 'due', due }, { X, 'urgent', due }, { X, 'zombies', zombie },
}

-- Looks at the next `many` entries of a set, and begins again behind its end.
local function walk(set, many)
  local name, field = set[1] .. set[2], 'heal:' .. set[2]
  local from = tonumber(call('HGET', X .. 'q', field) or 0)
  local found = call('ZRANGE', name, from, from + many - 1, 'WITHSCORES')
  local before = set.size
  for at = 1, #found, 2 do
    if is_foreign(found[at]) then
      call('ZREM', name, found[at])
      fixed()
    else
      set[3](found[at], found[at + 1], set[2])
    end
  end
  -- What is no longer there has made the others move up.
  local gone = math.max(0, before - call('ZCARD', name))
  local to = #found / 2 < many and 0 or from + many - gone
  if to ~= from then call('HSET', X .. 'q', field, int(to)) end
end

-- Shares what there is among the sets: small ones are looked through whole.
local function walk_all(sets, budget)
  for _, set in ipairs(sets) do
    set.size = call('ZCARD', set[1] .. set[2])
  end
  table.sort(sets, function(a, b) return a.size < b.size end)
  for at, set in ipairs(sets) do
    local many = math.min(set.size, math.floor(budget / (#sets - at + 1)))
    if many > 0 then walk(set, many) end
    budget = budget - many
  end
end

local function walk_line(many)
  local from = tonumber(call('HGET', X .. 'q', 'heal:pending') or 0)
  if from >= NEAR then from = 0 end
  local ids = call('LRANGE', P .. 'pending', -from - many, -from - 1)
  local before = healed
  for at = #ids, 1, -1 do
    in_line(ids[at])
  end
  local to = #ids < many and 0 or from + many - (healed - before)
  if to ~= from then call('HSET', X .. 'q', 'heal:pending', int(to)) end
end

-- Jobs that stand nowhere are found by the order in which they came in.
local function walk_known(many)
  local from = tonumber(call('HGET', X .. 'q', 'heal:order') or -1)
  local to, ended = walk_order(from, many, known)
  if ended then to = -1 end
  if to ~= from then call('HSET', X .. 'q', 'heal:order', int(to)) end
end

-- Keys whose holders are gone or have ended hold nobody up; they only take room.
local function walk_keys(many)
  local scanned = call('HSCAN', X .. 'unique', call('HGET', X .. 'q', 'heal:unique') or '0', 'COUNT', many)
  for at = 1, #scanned[2], 2 do
    local holder = scanned[2][at + 1]
    local code = not is_foreign(holder) and state_of(holder)
    if not code or code >= 6 then
      call('HDEL', X .. 'unique', scanned[2][at])
      fixed()
    end
  end
  call('HSET', X .. 'q', 'heal:unique', scanned[1])
end

-- Exclusive keys whose holders Go has ended, and that nobody waits for.
local function walk_slots(many)
  local scanned = call('HSCAN', SLOTS, call('HGET', X .. 'q', 'heal:slots') or '0', 'COUNT', many)
  for at = 1, #scanned[2], 2 do
    local key, holder = scanned[2][at], scanned[2][at + 1]
    if not holds(holder, key) and call('EXISTS', X .. 'row:' .. key) == 0 then
      call('HDEL', SLOTS, key)
      fixed()
    end
  end
  call('HSET', X .. 'q', 'heal:slots', scanned[1])
end

walk_line(math.floor(room / 8))
walk_all(theirs, math.floor(room / 4))
if call('EXISTS', X .. 'unique') == 1 then walk_keys(math.floor(room / 16)) end
if call('EXISTS', SLOTS) == 1 then walk_slots(math.floor(room / 16)) end
walk_all(ours, math.floor(room * 3 / 8))
walk_known(math.floor(room / 8))
local top = ARGV[4]
if #fresh > 0 then
  local first = rising('place', #fresh)
  for at, id in ipairs(fresh) do
    if call('EXISTS', task(id)) == 1 then call('HSET', task(id), 'x:n', int(first + at - 1)) else fresh[at] = false end
  end
  note_order(first, fresh)
  top = int(first + #fresh - 1)
end
return { top, healed }
