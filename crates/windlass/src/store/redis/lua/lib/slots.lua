-- slots.lua: who holds the key of an exclusive job, and who is blocked by it. Needs core.lua and states.lua.
--
-- Of the jobs with one key one stands in line or runs: the holder. The others wait under the state word `x:blocked`.
--   `x:slots`: the holder of each key
--   `x:row:<key>`: who is blocked, in the order in which they go: scores as in the lines; `x:rows`: the keys that have one
--   `x:blocked`: all who are blocked, by turn. Go makes the key of a set from the state word, so that it can delete,
--   archive and run them; what is left of those in a row is dropped when its turn comes.
-- why: Go lets nobody in when it ends, deletes or retries a holder, and a task can vanish. So the hash of a holder has to
-- say that it still is one.
local SLOTS = X .. 'slots'

-- Whether a job keeps others with a key out of line. What is no hash has no fields.
local function holds(id, key)
  local f = redis.pcall('HMGET', task(id), 'x:ex', 'state', 'msg', 'x:gone')
  return f[1] == key and f[3] and not f[4] and (f[2] == 'pending' or f[2] == 'active' or f[2] == 'queued')
end

local function block(id, key, priority)
  local turn = call('HINCRBY', X .. 'q', 'back', 1)
  call('ZADD', X .. 'row:' .. key, -priority * STEP + turn, id)
  call('SADD', X .. 'rows', key)
  call('ZADD', P .. 'x:blocked', turn, id)
  call('HSET', task(id), 'state', 'x:blocked', 'x:p', int(now), 'x:u', int(now))
  call('HDEL', task(id), 'x:at', 'pending_since')
end
