-- forget.lua: forgets the last claims of servers that are long gone, in one queue.
-- ARGV: microseconds since a server's last claim, microseconds since it left
-- returns: how many were forgotten; it looks at about 400 of them at a time
local span, span_left, forgotten = tonumber(take()), tonumber(take()), 0
local scanned = call('HSCAN', X .. 'claims', '0', 'COUNT', 400)
for at = 1, #scanned[2], 2 do
  local number, made = scanned[2][at + 1]:match('^(%d+) (%d+)')
  if mono - tonumber(made) >= (number == '9007199254740991' and span_left or span) then
    call('HDEL', X .. 'claims', scanned[2][at])
    call('HDEL', X .. 'looks', scanned[2][at])
    forgotten = forgotten + 1
  end
end
return forgotten
