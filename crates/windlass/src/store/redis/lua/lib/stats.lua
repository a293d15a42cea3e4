-- stats.lua: what scripts count, and its writing at their end. Needs core.lua.

-- Of each kind and each tenant: what -> how many.
local tallies, tenants = {}, {}
local processed, failures = 0, 0

local function add(where, name, what, count)
  local of = where[name]
  if not of then
    of = {}
    where[name] = of
  end
  of[what] = (of[what] or 0) + count
end

-- The slot of a histogram: see stats.rs.
local function slot(micros)
  if micros < 4 then return math.floor(micros) end
  local _, exponent = math.frexp(micros)
  exponent = exponent - 1
  return (exponent - 1) * 4 + math.floor(micros / 2 ^ (exponent - 2)) % 4
end

local ENDS = { [5] = 'r', [6] = 'c', [7] = 'd', [8] = 'x' }

-- Counts a job's arrival in a state, and the run that led there, if there was one.
local function count(kind, tenant, code, waited, ran, lifetime)
  add(tallies, kind, ENDS[code], 1)
  if tenant then add(tenants, tenant, ENDS[code], 1) end
  if not waited then
    -- A member of a group that became another job has lived, but not run.
    if code == 6 then
      add(tallies, kind, 't', lifetime)
      if tenant then add(tenants, tenant, 't', lifetime) end
    end
    return
  end
  add(tallies, kind, 'w' .. slot(waited), 1)
  add(tallies, kind, 'n' .. slot(ran), 1)
  if tenant then
    add(tenants, tenant, 'w' .. slot(waited), 1)
    add(tenants, tenant, 'n' .. slot(ran), 1)
  end
  if code == 6 then
    add(tallies, kind, 't', lifetime)
    if tenant then add(tenants, tenant, 't', lifetime) end
  end
end

local function date()
  local days = math.floor(seconds / 86400) + 719468
  local era = math.floor(days / 146097)
  local doe = days - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local day = doy - math.floor((153 * mp + 2) / 5) + 1
  local month = mp < 10 and mp + 3 or mp - 9
  return string.format('%04d-%02d-%02d', yoe + era * 400 + (month <= 2 and 1 or 0), month, day)
end

local function bump(name, by)
  if by == 0 then return end
  local daily = P .. name .. ':' .. date()
  if call('INCRBY', daily, by) == by then call('EXPIRE', daily, 7776000) end
  call('INCRBY', P .. name, by)
end

-- Writes what was counted: our minute buckets, and Asynq's counters.
local function write_counts()
  local minute = math.floor(seconds / 60)
  local first = false
  for family, names in pairs({ ['tally:'] = tallies, ['tenants:'] = tenants }) do
    local key = X .. family .. int(minute)
    local fresh = false
    for name, counts in pairs(names) do
      for what, by in pairs(counts) do
        fresh = call('HINCRBY', key, name .. '\n' .. what, int(by)) == by or fresh
      end
    end
    if fresh then
      call('EXPIRE', key, 3110400)
      first = true
    end
  end
  if first then call('ZADD', X .. 'minutes', minute, minute) end
  bump('processed', processed)
  bump('failed', failures)
end
