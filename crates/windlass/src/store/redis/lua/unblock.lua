-- unblock.lua: lets in who is blocked by a holder that is none any more: Go has ended, deleted or put it off, or its task
-- has vanished. Looks at LOOKS of the keys that have somebody blocked; where there are more, at any of them, so that no
-- place has to be kept.
-- returns: how many came into line, and 1 if a look at once may let in more
local LOOKS, let_in, more = 200, 0, 0
for _, key in ipairs(call('SRANDMEMBER', X .. 'rows', LOOKS)) do
  local holder = call('HGET', SLOTS, key)
  if not (holder and holds(holder, key)) then
    local came, left = let_next_in(key)
    if came then
      let_in = let_in + 1
    elseif left then
      more = 1
    else
      call('HDEL', SLOTS, key)
      call('SREM', X .. 'rows', key)
    end
  end
end
if let_in > 0 then
  wake()
  more = 1
end
return { let_in, more }
