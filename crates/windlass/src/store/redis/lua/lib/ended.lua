-- ended.lua: for scripts that look after ended jobs. Needs core.lua.

-- Whether a job that `archived` holds is archived. Asynq's own script may stop half-way when it trims: the task then
-- stands in `archived` and nowhere else, but is still called active.
local function is_archived(id, word)
  if word ~= 'active' then return word == 'archived' end
  return not call('ZSCORE', P .. 'lease', id) and not call('LPOS', P .. 'active', id)
end

-- Whether a set of Asynq's still holds a job by the end that a set of ours noted with this score, and under which word
-- (`marked`: see marks.lua). Go may have run the job since, and ended it anew.
local function ended_in(id, ours, score)
  local f = redis.pcall('HMGET', task(id), 'state', 'x:gone')
  if f[2] then return f[2] ~= '9' and 'ended:' .. f[2] == ours and 'marked' end
  local word = f[1]
  if word ~= 'completed' and word ~= 'archived' and word ~= 'x:dead' then return nil end
  local theirs = tonumber(call('ZSCORE', P .. word, id) or -1)
  if ours == 'expire' then return word == 'completed' and theirs == math.ceil(score / 1000000) and word end
  -- The moment of a completion is nowhere in Asynq's sets.
  if ours == 'ended:6' then return word == 'completed' and word end
  return word ~= 'completed' and theirs == math.floor(score / 1000000) and word
end
