-- scan.lua: a stretch of the jobs of one queue that are not at their end: of one place after the other. Reads only.
-- ARGV: the place where to begin ('': the first) and from which rank, how many (at most 500), the microseconds that a job
--   in line must have waited to be named, then the kinds (at most 200) of which it is one then
-- returns: the place and rank where the next stretch begins ('': this was the last), the kinds that it saw, the ids of
--   the jobs to be named, the oldest first
-- guarantee: those that are named all stand in the place where the next stretch begins, or that place begins with it.
-- why: small queues are looked through in one call. Of lines only those of the named kinds are looked at; the kinds of
-- the others are their names.
local at, from, left, after = take(), tonumber(take()), tonumber(take()), tonumber(take())
local of_interest, seen, kinds, named, places = {}, {}, {}, {}, {}
for number = cursor + 1, #ARGV do
  local kind = ARGV[number]
  of_interest[kind] = true
  places[#places + 1] = 'x:line:' .. kind
  places[#places + 1] = 'x:suspect:' .. kind
end
local first_list = #places + 1
for _, name in ipairs({ 'pending', 'active', 'scheduled', 'retry', 'x:blocked' }) do
  places[#places + 1] = name
end

local function see(kind)
  if seen[kind] then return end
  seen[kind] = true
  kinds[#kinds + 1] = kind
end

local function look(id, in_line)
  -- One that was taken out of the list and is only marked there is of no kind, and so is what is no hash.
  local f = redis.pcall('HMGET', task(id), 'msg', 'x:gone')
  if not f[1] or f[2] then return end
  local kind = kind_in(f[1])
  see(kind)
  if in_line and of_interest[kind] and now - came_at(id) >= after then named[#named + 1] = id end
end

-- The next ids of a place, the oldest first.
local function ids_of(name)
  if name ~= 'pending' and name ~= 'active' then return call('ZRANGE', P .. name, from, from + left - 1) end
  local ids, turned = call('LRANGE', P .. name, -from - left, -from - 1), {}
  for number = #ids, 1, -1 do
    turned[#turned + 1] = ids[number]
  end
  return turned
end

local number = 1
for place, name in ipairs(places) do
  if name == at then number = place end
end
if places[number] ~= at then from = 0 end
if at == '' then
  for _, set in ipairs({ 'lines', 'suspects' }) do
    for _, kind in ipairs(call('SMEMBERS', X .. set)) do
      see(kind)
    end
  end
end
while places[number] and left > 0 and #named == 0 do
  local ids = ids_of(places[number])
  for _, id in ipairs(ids) do
    look(id, number <= first_list)
  end
  if #ids == left then
    from = from + #ids
  else
    number, from = number + 1, 0
  end
  left = left - #ids
end
return { places[number] or '', from, kinds, named }
