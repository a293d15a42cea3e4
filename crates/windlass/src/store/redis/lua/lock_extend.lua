-- lock_extend.lua: renews a hold of a lock, if nobody took it.
-- ARGV: the start of Redis, the token, the fence, the time to live
-- returns: 1, or 0: it is lost
local start, token, fence, ttl = take(), take(), take(), tonumber(take())
after_start(start)
local own = lock_record(token)
if not own or own.fence ~= fence then return 0 end
call('ZADD', HELD, int(mono + ttl), token)
call('HSET', L, token, fence .. ' ' .. own.since .. ' ' .. int(ttl) .. ' ' .. own.holder)
keep_lock()
return 1
