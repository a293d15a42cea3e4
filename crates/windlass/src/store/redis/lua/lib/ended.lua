-- ended.lua: for scripts that look after ended jobs. Needs core.lua.

-- Whether a job that `archived` holds is archived. Asynq's own script may stop half-way when it trims: the task then
-- stands in `archived` and nowhere else, but is still called active.
local function is_archived(id, word)
  if word ~= 'active' then return word == 'archived' end
  return not call('ZSCORE', P .. 'lease', id) and not call('LPOS', P .. 'active', id)
end
