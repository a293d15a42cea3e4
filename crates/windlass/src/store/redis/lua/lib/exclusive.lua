-- exclusive.lua: how exclusive jobs come into line, and let the next one in. Needs core.lua, states.lua and slots.lua.

-- How many entries of rows that are no blocked jobs any more this script may still drop.
local droppable = 100

-- Lets the one come into line, at its end, whose turn it is behind a key that nobody holds. False: nobody waits. True: it
-- did, or the row is not looked through yet, and whoever looks next goes on.
local function let_next_in(key)
  local row = X .. 'row:' .. key
  while droppable > 0 do
    local id = call('ZPOPMIN', row)[1]
    if not id then return false end
    if call('EXISTS', row) == 0 then call('SREM', X .. 'rows', key) end
    local job = load(id)
    if job and job.word == 'x:blocked' and job.exclusive == key then
      call('ZREM', P .. 'x:blocked', id)
      call('HSET', SLOTS, key, id)
      line_up(id, job.kind, job.priority, job.suspect, false)
      return true
    end
    droppable = droppable - 1
  end
  return call('EXISTS', row) == 1
end

-- After a job is neither in line nor running any more: if it held a key, the next one has it. Says whether one came in.
local function free(id, key)
  if not key then return false end
  local holder = call('HGET', SLOTS, key)
  if holder and holder ~= id and holds(holder, key) then return false end
  if let_next_in(key) then return true end
  call('HDEL', SLOTS, key)
  return false
end

-- Whether a job must be blocked that nothing but its key could keep out of line. Then it is; else it holds the key.
local function kept_out(id, key, priority)
  if not key then return false end
  local holder = call('HGET', SLOTS, key)
  -- Where Go has ended the holder, those who waited go first.
  if (holder and holder ~= id and holds(holder, key)) or let_next_in(key) then
    block(id, key, priority)
    return true
  end
  call('HSET', SLOTS, key, id)
  return false
end

-- Stands a job in line, at its end, or behind the holder of its key. Gives the code of its state.
local function ready(id, job)
  if kept_out(id, job.exclusive, job.priority) then return 2 end
  line_up(id, job.kind, job.priority, job.suspect, false)
  return 0
end
