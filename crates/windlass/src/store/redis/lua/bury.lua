-- bury.lua: buries pending jobs of kinds that no live server has handled for long.
-- ARGV: microseconds that they must have waited, the most to bury, how many kinds and those, how many ids (at most 500)
--   and those
-- returns: how many were buried
-- guarantee: each is buried only if it still is pending, of one of the kinds, and has waited as long. The next with
--   its exclusive key comes into line. No more than 500 jobs are touched: the next sweep finds those that are left.
local after, limit, buried, kinds = tonumber(take()), tonumber(take()), 0, {}
for _ = 1, tonumber(take()) do
  kinds[take()] = true
end
local left = 500
for _ = 1, tonumber(take()) do
  local id = take()
  left = left - 1
  local job = buried < limit and left >= 0 and state_of(id) == 0 and load(id)
  if job and kinds[job.kind] then
    local f = call('HMGET', task(id), 'x:e', 'x:a')
    if now - came_at(id) >= after then
      leave(id, job.word, job.kind, job.suspect)
      local message = 'no live server has handled its kind for long'
      note(id, f[1], f[2] or '0', 'unknown_kind', message)
      settle(id, 7, job, 'unknown_kind', nil, message)
      if free(id, job.exclusive) then left = left - 1 end
      buried = buried + 1
    end
  end
end
write_counts()
if buried > 0 then wake() end
return { buried }
