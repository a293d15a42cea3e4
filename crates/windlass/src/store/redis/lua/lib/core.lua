-- core.lua: what every script on one queue begins with. The parts in `lib/` are put before the scripts that need them
-- (see scripts.rs); they do nothing by themselves. Each closure costs its making at every call, so the scripts that run
-- for every job take few parts.
-- KEYS[1]: the queue's prefix, `asynq:{queue}:`. Every key touched begins with it, so all are in one cluster slot.
-- ARGV[1]: the wall clock in microseconds, for tests whose clock is moved by hand; empty: ask TIME.
-- ARGV[2]: what the caller expects the wall clock to show, by its own monotonic clock; empty: it does not know.
-- ARGV[3]: what to add to the wall clock to get the store's steady clock, by which leases go (see pulse.lua).
-- ARGV[4]: the highest number that the caller has been given as fence or place; new ones are above it.
-- why: numbers are doubles, exact up to 2^53: times are microseconds (exact until 2255), and a fence is one of them
-- with three zeros behind it, as text. Times beyond are kept as text beside the score.
local P = KEYS[1]
local call = redis.call
local X = P .. 'x:'

local now
if ARGV[1] ~= '' then
  now = tonumber(ARGV[1])
else
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end
local seconds = math.floor(now / 1000000)
local offset = tonumber(ARGV[3])
local mono = now + offset
-- The wall clock was stepped since the caller last looked: the steady clock goes on as if it had not been.
if ARGV[2] ~= '' and math.abs(now - tonumber(ARGV[2])) > 500000 then
  mono = tonumber(ARGV[2]) + offset
end

local cursor = 4
local function take()
  cursor = cursor + 1
  return ARGV[cursor]
end

local function int(number)
  if number >= 9.2e18 then return '9223372036854775807' end
  return string.format('%.0f', number)
end

-- The next `count` numbers above all that this queue and the caller have seen; gives the first of them.
local function rising(name, count)
  local last = tonumber(call('HGET', X .. 'q', name) or 0)
  local first = math.max(last, tonumber(ARGV[4]), now - 1) + 1
  call('HSET', X .. 'q', name, int(first + count - 1))
  return first
end

local function task(id)
  return P .. 't:' .. id
end

-- Somebody may have something to do: those who wait for jobs of this queue look at it. It is a hint, and comes after the
-- writes: a user who may not publish must not leave them half made.
local function wake()
  redis.pcall('PUBLISH', X .. 'wake', '')
end
