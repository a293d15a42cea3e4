-- complete.lua: ends runs of one queue's jobs that completed and leave nothing behind: no retention, result, news,
--   follower or unique key. Anything else goes to finish.lua, which does the same for them.
-- ARGV[5]: msgpack: at most 500 runs, each: id, fence, kind, tenant or '', created at, the slots of how long it waited
--   and ran (`w..` and `n..`, see stats.rs)
-- returns: for each 6, or -1: stale
-- guarantee: a report is applied only if the job's newest claim is the one it names and Go has not taken the job.
-- why: the holder says what its claim was told, so that nothing but the fence must be read. A task that is no hash any
-- more has none, and costs the others nothing.
local FEW, AROUND, MOST = 8, 50, 500
local runs, ids = cmsgpack.unpack(ARGV[5]), {}
for at, run in ipairs(runs) do
  ids[at] = run[1]
end
local leases = call('ZMSCORE', P .. 'lease', unpack(ids))
local held, keys, many = {}, {}, 0
for at, run in ipairs(runs) do
  local id = run[1]
  local key = leases[at] and not held[id] and task(id)
  if key and redis.pcall('HGET', key, 'pending_since') == '+' .. run[2] then
    held[id], keys[id] = at, key
    many = many + 1
  end
end

-- Takes the held ones out of Asynq's list of active jobs. What runs longest stands at its end, so one look at that end
-- finds most of many.
local out = {}
local function take_out()
  if many >= FEW then
    local looked, kept = call('LRANGE', P .. 'active', -math.min(MOST, many + AROUND), -1), {}
    for _, id in ipairs(looked) do
      if held[id] then out[id] = true else kept[#kept + 1] = id end
    end
    call('LTRIM', P .. 'active', 0, -#looked - 1)
    if #kept > 0 then call('RPUSH', P .. 'active', unpack(kept)) end
  end
  for id in pairs(held) do
    -- Go's zombie may have taken it out of the list alone.
    if not out[id] then out[id] = call('LREM', P .. 'active', -1, id) > 0 end
  end
end

take_out()
local answer, ended, gone = {}, {}, {}
for at, run in ipairs(runs) do
  local id, code = run[1], -1
  if held[id] == at and out[id] then
    code = 6
    ended[#ended + 1], gone[#gone + 1] = id, keys[id]
    local lifetime = math.max(0, now - (tonumber(run[5]) or now))
    add(tallies, run[3], 'c', 1)
    add(tallies, run[3], 't', lifetime)
    add(tallies, run[3], run[6], 1)
    add(tallies, run[3], run[7], 1)
    if run[4] ~= '' then
      add(tenants, run[4], 'c', 1)
      add(tenants, run[4], 't', lifetime)
      add(tenants, run[4], run[6], 1)
      add(tenants, run[4], run[7], 1)
    end
  end
  answer[at] = code
end
if #ended > 0 then
  processed = #ended
  call('ZREM', P .. 'lease', unpack(ended))
  call('ZREM', X .. 'lease', unpack(ended))
  call('DEL', unpack(gone))
  call('HINCRBY', X .. 'q', 'removed', #ended)
  write_counts()
  wake()
end
return answer
