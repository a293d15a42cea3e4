-- tidy.lua: looks through pages of the order in which jobs came in (see order.lua), and drops what they say of jobs
-- that are gone.
-- ARGV: `young` (those that no look has reached, once they are SETTLED old) or `old` (those that it has, round and round)
-- returns: 1 if there may be more to look at now
-- guarantee: jobs that are there keep their places. At most 500 ids are looked at.
-- why: most jobs are gone after a few seconds, so young pages are looked at once each, soon; what is left lives longer.
local SETTLED, MOST = 10000000, 500
local young = take() == 'young'
local field = young and 'tidy:young' or 'tidy:old'
local from = call('HGET', X .. 'q', field) or '-1'
local till = call('HGET', X .. 'q', 'tidy:young') or '-1'
if young then
  -- Places are ahead of a clock that was set back: then they say of no page how old it is.
  local ahead = tonumber(call('HGET', X .. 'q', 'place') or 0) > now + SETTLED
  till = ahead and '+inf' or int(now - SETTLED)
end
local looked, to, more = 0, from, 1
while true do
  local first, member = next_page(to, till)
  if not first then
    if not young then to = '-1' end
    more = 0
    break
  end
  local ids = cmsgpack.unpack(member)
  if looked > 0 and looked + #ids > MOST then break end
  tidy_page(first, member, ids)
  looked, to = looked + #ids, first
  if looked >= MOST then break end
end
if to ~= from then call('HSET', X .. 'q', field, to) end
return more
