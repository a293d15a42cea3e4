-- extend.lua: renews leases of one queue's jobs.
-- ARGV: lease in microseconds, how many (at most 500), then id and fence of each
-- returns: for each 1, or 0: it is lost
-- guarantee: only the newest claim's lease is renewed, and only while the job is in its hands.
-- why: Asynq's own `lease` gets its 30 s each time, for Go's eyes; the true one is ours, since a Go worker that woke
-- from a long sleep would move Asynq's.
local lease, answer = tonumber(take()), {}
for number = 1, tonumber(take()) do
  local id, fence = take(), take()
  local held = redis.pcall('HGET', task(id), 'pending_since') == '+' .. fence and call('ZSCORE', P .. 'lease', id)
  if held then
    call('ZADD', X .. 'lease', int(mono + lease), id)
    call('ZADD', P .. 'lease', seconds + 30, id)
  end
  answer[number] = held and 1 or 0
end
return answer
