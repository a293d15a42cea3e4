-- order.lua: the order in which jobs came in, by pages. Needs core.lua.
--
-- `x:order` is a sorted set of pages. Score: the place of its first job; member: msgpack, the ids of at most 500 jobs
-- whose places follow one another (false: none there). A job knows its place itself (`x:n`), so what a page says of one
-- that is gone, or that came in once more, does not count.
-- why: nothing is taken out when a job ends, whoever ends it: that would cost each job two look-ups in a set as large as
-- the backlog. Pages are looked through some seconds later, when most have nothing left (see tidy.lua).

-- Notes jobs of one script, whose places begin with `first`.
local function note_order(first, ids)
  call('ZADD', X .. 'order', int(first), cmsgpack.pack(ids))
end

-- The first page that begins behind a place: the place of its first job, and the page.
local function next_page(after, till)
  local found = call('ZRANGEBYSCORE', X .. 'order', '(' .. after, till, 'WITHSCORES', 'LIMIT', 0, 1)
  return found[2], found[1]
end

-- Whether this id still is the job of this place. What is no hash is none.
local function stands_at(id, place)
  return tonumber(redis.pcall('HGET', task(id), 'x:n') or -1) == place
end

-- Whether a page names a job. One that Go brought in has no place yet, and if the pages were lost, those that there are
-- begin behind the places of older jobs.
local oldest_place
local function is_listed(id)
  if not oldest_place then
    local first = call('ZRANGE', X .. 'order', 0, 0, 'WITHSCORES')
    oldest_place = tonumber(first[2] or math.huge)
  end
  return tonumber(call('HGET', task(id), 'x:n') or -1) >= oldest_place
end

-- Visits the jobs behind a place that are still there, `limit` of the ids that stand there at most. Gives the place up to
-- which it looked, and whether that was the end.
local function walk_order(after, limit, visit)
  local looked = 0
  local function look(first, member)
    for at, id in ipairs(cmsgpack.unpack(member)) do
      local place = tonumber(first) + at - 1
      if looked >= limit then return end
      if place > after then
        looked, after = looked + 1, place
        if id and stands_at(id, place) then visit(id, place) end
      end
    end
  end
  -- The page that holds the place comes first.
  local page = call('ZREVRANGEBYSCORE', X .. 'order', int(after), '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
  local first = page[2] or int(after)
  if page[1] then look(first, page[1]) end
  while looked < limit do
    local member
    first, member = next_page(first, '+inf')
    if not first then return after, true end
    look(first, member)
  end
  return after, false
end

-- Drops a page of which nothing is left; makes it smaller once half of it is gone.
local function tidy_page(first, member, ids)
  local named, left, last = 0, 0, 0
  for at, id in ipairs(ids) do
    if id then
      named = named + 1
      if stands_at(id, tonumber(first) + at - 1) then left, last = left + 1, at else ids[at] = false end
    end
  end
  if left > 0 and named - left < left then return end
  call('ZREM', X .. 'order', member)
  if left == 0 then return end
  for at = #ids, last + 1, -1 do
    ids[at] = nil
  end
  note_order(tonumber(first), ids)
end
