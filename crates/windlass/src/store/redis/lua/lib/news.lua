-- news.lua: what runs say of themselves. Needs core.lua, message.lua and states.lua.

-- Reads what a run says at one time from the arguments.
local function take_news()
  local news = {
    number = tonumber(take()), has_progress = take() == '1', fraction = take(), message = take(),
    has_checkpoint = take() == '1', checkpoint = take(), lines = {},
  }
  for at = 1, tonumber(take()) do
    news.lines[at] = { take(), take() }
  end
  return news
end

-- Notes it with the job that this fence holds: each number of a run once, and none that comes after a later one.
local function note_news(id, fence, news)
  local f = call('HMGET', task(id), 'x:said', 'x:lg', 'x:ln')
  if f[1] then
    local of, last = f[1]:match('^(%d+) (%d+)$')
    if of == fence and tonumber(last) >= news.number then return end
  end
  call('HSET', task(id), 'x:said', fence .. ' ' .. int(news.number))
  if news.has_progress then call('HSET', task(id), 'x:pf', news.fraction, 'x:pm', news.message) end
  if news.has_checkpoint then call('HSET', task(id), 'x:ck', news.checkpoint) end
  if #news.lines == 0 then return end
  local log, number, attempt = f[2] or '', tonumber(f[3] or 0), attempt_of(id)
  for _, line in ipairs(news.lines) do
    number = number + 1
    log = log .. line[1] .. '\1' .. attempt .. '\1' .. int(number) .. '\1' .. line[2] .. '\0'
  end
  local _, lines = log:gsub('%z', '')
  while lines > 100 do
    log = log:sub(log:find('%z') + 1)
    lines = lines - 1
  end
  call('HSET', task(id), 'x:lg', log, 'x:ln', int(number))
end

