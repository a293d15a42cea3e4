-- pause.lua: stops a queue from giving jobs, or lets it give again. The key is Asynq's, so Go obeys it too.
-- ARGV: 1: stop, 0: give again
if take() == '1' then
  call('SET', P .. 'paused', seconds, 'NX')
else
  call('DEL', P .. 'paused')
end
wake()
return 1
