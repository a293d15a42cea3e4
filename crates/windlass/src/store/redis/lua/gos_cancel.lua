-- gos_cancel.lua: somebody told Asynq's workers to cancel a task.
-- ARGV: the id
-- returns: the fence of our run that is to stop, or '': it does not run here, or the wish is our own
-- guarantee: the run that is noted ends as a failed attempt, as it does with Go: see finish.lua.
local id = take()
local f = call('HMGET', task(id), 'pending_since', 'x:wish')
if f[2] or not f[1] or f[1]:sub(1, 1) ~= '+' or not call('ZSCORE', P .. 'lease', id) then return '' end
call('HSET', task(id), 'x:gc', f[1]:sub(2))
return f[1]:sub(2)
