-- outstanding.lua: whether any job of some kinds is not at its end, in one look at one queue. Reads only.
-- ARGV: how many rules, then for each: '=' (exact) or '^' (prefix), its text
-- returns: 1 there is one, 0 there is none, -1 there is none among the first MOST, and there are more
-- guarantee: at most MOST jobs are looked at.
-- why: a job on its way from one place to the next is at one of them in every moment, and looks at them one after the
-- other can miss it each time.
local MOST = 500
local rules = {}
for at = 1, tonumber(take()) do
  rules[at] = { exact = take() == '=', text = take() }
end

local function is_ours(kind)
  for _, rule in ipairs(rules) do
    if rule.exact and kind == rule.text then return true end
    if not rule.exact and kind:sub(1, #rule.text) == rule.text then return true end
  end
  return false
end

for _, set in ipairs({ 'lines', 'suspects' }) do
  for _, kind in ipairs(call('SMEMBERS', X .. set)) do
    if is_ours(kind) then return 1 end
  end
end

local left, more = MOST, false
for _, place in ipairs({ 'pending', 'active', 'scheduled', 'retry', 'x:blocked' }) do
  local listed = place == 'pending' or place == 'active'
  local size = call(listed and 'LLEN' or 'ZCARD', P .. place)
  local many = math.min(size, left)
  if many > 0 then
    local ids = listed and call('LRANGE', P .. place, -many, -1) or call('ZRANGE', P .. place, 0, many - 1)
    for _, id in ipairs(ids) do
      local f = redis.pcall('HMGET', task(id), 'msg', 'x:gone')
      -- One that was taken out of the list and is only marked there is of no kind.
      local kind = f[2] and '' or kind_in(f[1] or '')
      if kind ~= '' and is_ours(kind) then return 1 end
    end
  end
  left = left - many
  more = more or size > many
end
return more and -1 or 0
