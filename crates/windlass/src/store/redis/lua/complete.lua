-- complete.lua: ends runs of one queue's jobs that completed and leave nothing behind: no retention, result, news,
--   follower or unique key. Anything else goes to finish.lua, which does the same for them.
-- ARGV[5]: msgpack: at most 500 runs, each: id, fence, kind, tenant or '', created at, the slots of how long it waited
--   and ran (`w..` and `n..`, see stats.rs)
-- returns: for each 6, or -1: stale
-- guarantee: a report is applied only if the job's newest claim is the one it names and Go has not taken the job.
-- why: the holder says what its claim was told, so that nothing but the fence must be read.
local runs, ids = cmsgpack.unpack(ARGV[5]), {}
for at, run in ipairs(runs) do
  ids[at] = run[1]
end
local leases = call('ZMSCORE', P .. 'lease', unpack(ids))
local answer, ended, keys, seen = {}, {}, {}, {}
for at, run in ipairs(runs) do
  local id, code = run[1], -1
  local key = task(id)
  local held = leases[at] and not seen[id] and call('HGET', key, 'pending_since') == '+' .. run[2]
  -- Go's zombie may have taken it out of the list alone.
  if held and call('LREM', P .. 'active', -1, id) > 0 then
    code = 6
    seen[id] = true
    ended[#ended + 1], keys[#keys + 1] = id, key
    local lifetime = math.max(0, now - (tonumber(run[5]) or now))
    add(tallies, run[3], 'c', 1)
    add(tallies, run[3], 't', lifetime)
    add(tallies, run[3], run[6], 1)
    add(tallies, run[3], run[7], 1)
    if run[4] ~= '' then
      add(tenants, run[4], 'c', 1)
      add(tenants, run[4], 't', lifetime)
    end
  end
  answer[at] = code
end
if #ended > 0 then
  processed = #ended
  call('ZREM', P .. 'lease', unpack(ended))
  call('ZREM', X .. 'lease', unpack(ended))
  call('ZREM', X .. 'index', unpack(ended))
  call('DEL', unpack(keys))
  call('HINCRBY', X .. 'q', 'removed', #ended)
  write_counts()
  wake()
end
return answer
