-- flush.lua: makes one job of members of a group.
-- ARGV: the group, the new job (see intake.lua), the queue it goes to ('': this one), how many members (at most 1000), then id and version of each
-- returns: {highest number given, 1}: done; {.., 0}: something has changed since the members were read;
--   {.., holder, its state or -1}: the new job's id or key is taken
-- guarantee: all members end and the new job comes in, or nothing happens.
-- why: it is the one script that touches more than 500 entries: a group becomes a job in one step.
local group, letter, target, members, named = take(), take(), take(), {}, {}
local job = cmsgpack.unpack(letter)
local mode = (job[4] or {}).mode
for number = 1, tonumber(take()) do
  local id, version = take(), take()
  local f = call('HMGET', task(id), 'state', 'group', 'x:v')
  if named[id] or f[1] ~= 'aggregating' or f[2] ~= group or (f[3] or '0') ~= version then return { ARGV[4], 0 } end
  named[id] = true
  members[number] = id
end
local other = in_the_way(job[1], mode, (job[4] or {}).key)
if other then
  -- The key of a member is free in the step that ends it.
  local freed = mode == 'u' and other[1] ~= job[1] and named[other[1]]
  if not freed then return { ARGV[4], other[1], other[2] } end
end
for _, id in ipairs(members) do
  local member = load(id)
  leave(id, 'aggregating')
  call('HSET', task(id), 'x:in', job[1])
  member.retention = retention_of(member)
  settle(id, 6, member, nil, nil)
end
local place = rising('place', 1)
if target ~= '' then post(target, letter) else enqueue(job, place) end
take_in()
write_counts()
wake()
return { int(place), 1 }
