-- intake.lua: how jobs come in. Needs core.lua, states.lua, exclusive.lua and order.lua.
--
-- A new job is a list in msgpack: id, message, kind, and, if there is more to it, a map of texts: start (`a`: at a
-- moment, `i`: after a wait), at, priority, mode (`u`: unique, `i`: once within ttl), key, ttl, options, tenant,
-- retention, group, exclusive.
local NOTHING = {}

-- Who is in the way of a new job: {id, state or -1}, or nil. A note of a key that has run out goes.
local function in_the_way(id, mode, key)
  local state = state_of(id)
  if state then return { id, state } end
  if mode == 'u' then
    local holder = call('HGET', X .. 'unique', key)
    local held = holder and state_of(holder)
    if held and held < 6 then return { holder, held } end
  elseif mode == 'i' then
    local held = call('HGET', X .. 'once', key)
    if held then
      local expires, holder = held:match('^(%d+) (.*)$')
      if tonumber(expires) > now then return { holder, state_of(holder) or -1 } end
      -- Another queue may take the key now, and the clock may go back: this note must not count again then.
      call('HDEL', X .. 'once', key)
    end
  end
  return nil
end

-- What this script's jobs add to the queue's list, order and kinds, all at once: see `take_in`.
local lined, first_place, ordered, kinds = {}, nil, {}, {}
local PENDING_SINCE = int(now) .. '000'

-- What a job has beyond a plain one's message.
local function keep_more(id, more)
  local key = task(id)
  call('HSET', key, 'x:c', int(now), 'x:u', int(now))
  if more.priority then call('HSET', key, 'x:pr', more.priority) end
  if more.options then call('HSET', key, 'x:o', more.options) end
  if more.tenant then call('HSET', key, 'x:t', more.tenant) end
  if more.retention then call('HSET', key, 'x:rt', more.retention) end
  if more.exclusive then call('HSET', key, 'x:ex', more.exclusive) end
  if more.mode == 'u' then
    call('HSET', key, 'x:uk', more.key)
    call('HSET', X .. 'unique', more.key, id)
  elseif more.mode == 'i' then
    local expires = now + tonumber(more.ttl)
    call('HSET', X .. 'once', more.key, int(expires) .. ' ' .. id)
    call('ZADD', X .. 'once:due', expires, more.key)
  end
end

-- Stands a job where it belongs that is not for the list at once. False: it is.
local function stand_elsewhere(id, kind, more)
  local at = now
  if more.start == 'a' then at = tonumber(more.at) elseif more.start == 'i' then at = now + tonumber(more.at) end
  if at > now then
    -- Go's forwarder looks here for the group, and lets it join only if the group is known.
    if more.group then
      call('HSET', task(id), 'group', more.group)
      call('SADD', P .. 'groups', more.group)
    end
    wait_until(id, 'scheduled', more.start == 'a' and more.at or int(at))
  elseif more.group then
    join(id, more.group)
  elseif kept_out(id, more.exclusive, tonumber(more.priority or 0)) then
    return true
  elseif more.priority then
    line_up(id, kind, tonumber(more.priority), false, false)
  else
    return false
  end
  return true
end

-- Takes an id out of wherever it stands: what stood under it was no job, or had been removed (see marks.lua).
local function take_off(id)
  for _, list in ipairs({ 'pending', 'active' }) do
    call('LREM', P .. list, 0, id)
  end
  for _, set in ipairs({
    'lease', 'scheduled', 'retry', 'archived', 'completed', 'x:dead', 'x:blocked', 'x:deleted', 'x:lease', 'x:due', 'x:urgent',
  }) do
    call('ZREM', P .. set, id)
  end
end

-- Makes a job durable under the number `place`, or answers who is in its way. `take_in` must follow.
local function enqueue(job, place)
  local id, kind, more = job[1], job[3], job[4] or NOTHING
  local key = task(id)
  local there = call('EXISTS', key) == 1
  if there or more.mode then
    local other = in_the_way(id, more.mode, more.key)
    if other then return other end
    if there then
      call('DEL', key)
      take_off(id)
    end
  end
  call('HSET', key, 'msg', job[2], 'state', 'pending', 'pending_since', PENDING_SINCE, 'x:n', int(place))
  if job[4] then keep_more(id, more) end
  if not stand_elsewhere(id, kind, more) then lined[#lined + 1] = id end
  first_place = first_place or place
  -- The places of those that did not come in stay empty.
  for at = #ordered + 1, place - first_place do
    ordered[at] = false
  end
  ordered[place - first_place + 1] = id
  kinds[kind] = true
  return nil
end

-- Writes what the jobs so far add to the queue. They stand in line behind all that came before.
local function take_in()
  if #lined > 0 then call('LPUSH', P .. 'pending', unpack(lined)) end
  if first_place then note_order(first_place, ordered) end
  for kind in pairs(kinds) do
    call('SADD', X .. 'kinds', kind)
  end
  lined, first_place, ordered, kinds = {}, nil, {}, {}
end

-- Leaves a job for another queue in the outbox, and gives the letter's number. It is above the clock, as a fence is: the
-- target takes none up to the last one that it took, and our notes of this queue may be lost meanwhile.
local function post(target, letter)
  local number = rising('letters', 1)
  call('ZADD', X .. 'out:' .. target, number, int(number) .. ':' .. letter)
  call('SADD', X .. 'outs', target)
  return number
end
