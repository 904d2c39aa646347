-- ARGV: topic, life, then partition and row of each. Begins where nothing stands, or another life does.
local topic, life = take(), take()
local at = 'frames:at:' .. topic
if redis.call('HGET', at, 'life') == life then return 0 end
redis.call('DEL', at, 'frames:floor:' .. topic, 'frames:past:' .. topic)
if topic == 'users' then redis.call('DEL', 'frames:blocks') end
redis.call('HSET', at, 'life', life, 'moved', whole(now), 'sampled', whole(now))
while ARGV[at_arg + 1] do
  local partition, row = take(), take()
  redis.call('HSET', at, partition, row)
end
raise_floor(topic, rows(topic))
redis.call('PUBLISH', 'frames:all', 'b\n')
return 1
