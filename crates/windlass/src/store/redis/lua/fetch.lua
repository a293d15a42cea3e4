-- fetch.lua: jobs as they stand. Reads only.
-- ARGV: how many (at most 100), then their ids
-- returns: now, the steady clock, then for each nothing (`0`) or {fields and values of its hash.., 'until', the end of its
--   lease, 'code', its state's code, 'score', Asynq's own score where it waits, 'holder', for whom it is blocked}
local answer = { int(now), int(mono) }
for number = 1, tonumber(take()) do
  local id = take()
  local code = state_of(id)
  local row = 0
  if code then
    row = call('HGETALL', task(id))
    local function put(name, value)
      if value then
        row[#row + 1] = name
        row[#row + 1] = value
      end
    end
    put('code', tostring(code))
    local marked = call('HEXISTS', task(id), 'x:gone') == 1
    if marked then put('msg', unmarked(id, call('HGET', task(id), 'msg'))) end
    if code == 4 then
      put('until', call('ZSCORE', X .. 'lease', id))
      put('go_until', call('ZSCORE', P .. 'lease', id))
    end
    if code == 2 then put('holder', call('HGET', X .. 'slots', call('HGET', task(id), 'x:ex') or '')) end
    if code == 1 or code >= 5 then
      local word = call('HGET', task(id), 'state')
      if not marked then put('score', call('ZSCORE', P .. word, id)) end
    end
  end
  answer[#answer + 1] = row
end
return answer
