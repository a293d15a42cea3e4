-- exclusive.lua: how exclusive jobs come into line, and let the next one in. Needs core.lua, states.lua and slots.lua.

-- How many entries of rows that are no blocked jobs any more this script may still drop.
local droppable = 100

-- Lets the one come into line, at its end, whose turn it is behind a key that nobody holds. Says whether one did; and else
-- whether there may be one, behind more than may be dropped here: see unblock.lua.
local function let_next_in(key)
  local row = X .. 'row:' .. key
  while true do
    local id = call('ZRANGE', row, 0, 0)[1]
    if not id then return false, false end
    local job = load(id)
    local waits = job and job.word == 'x:blocked' and job.exclusive == key
    if not waits and droppable == 0 then return false, true end
    leave_row(id, key)
    if waits then
      call('ZREM', P .. 'x:blocked', id)
      call('HSET', SLOTS, key, id)
      line_up(id, job.kind, job.priority, job.suspect, false)
      return true, true
    end
    droppable = droppable - 1
  end
end

-- After a job is neither in line nor running any more: if it held a key, the next one has it. Says whether one came in.
local function free(id, key)
  if not key then return false end
  local holder = call('HGET', SLOTS, key)
  if holder and holder ~= id and holds(holder, key) then return false end
  local came, left = let_next_in(key)
  if not left then call('HDEL', SLOTS, key) end
  return came
end

-- Whether a job must be blocked that nothing but its key could keep out of line. Then it is; else it holds the key.
local function kept_out(id, key, priority)
  if not key then return false end
  local holder = call('HGET', SLOTS, key)
  -- Where Go has ended the holder, those who waited go first.
  if (holder and holder ~= id and holds(holder, key)) or call('EXISTS', X .. 'row:' .. key) == 1 then
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
