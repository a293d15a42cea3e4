-- lock_break.lua: takes a lock from all who hold it. Those who wait keep their places.
-- ARGV: the start of Redis
-- returns: from how many
after_start(take())
local held = live_holds()
for _, token in ipairs(call('ZRANGE', HELD, 0, 499)) do
  drop_hold(token)
end
wake()
return held
