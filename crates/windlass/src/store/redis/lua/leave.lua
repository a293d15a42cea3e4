-- leave.lua: no claim of this server counts any more in one queue, whenever it arrives.
-- ARGV: the server
call('HSET', X .. 'claims', take(), '9007199254740991 ' .. int(mono) .. ' ')
return 1
