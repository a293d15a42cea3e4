-- lock_release.lua: gives back a hold of a lock, and a place in its line.
-- ARGV: the token, the fence; empty: whichever it has
-- returns: 1 if there was such a hold
local token, fence = take(), take()
local own = lock_record(token)
local held = own and (fence == '' or own.fence == fence)
if held then drop_hold(token) end
call('ZREM', WAITS, token)
call('ZREM', LINE, token)
wake()
return held and 1 or 0
