-- report.lua: notes what runs of one queue's jobs say while they go on.
-- ARGV: how many (at most 500), then for each: id, fence, its number, 1 and progress or 0 (a fraction, a message), 1 and
--   a checkpoint or 0, how many lines and for each when it was said and its text
-- returns: for each 1, or 0: stale
-- guarantee: only the newest claim is heard; a number that was taken is not taken again.
local answer = {}
for at = 1, tonumber(take()) do
  local id, fence, news = take(), take(), take_news()
  local held = redis.pcall('HGET', task(id), 'pending_since') == '+' .. fence and call('ZSCORE', P .. 'lease', id)
  if held then note_news(id, fence, news) end
  answer[at] = held and 1 or 0
end
return answer
