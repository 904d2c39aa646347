-- ARGV: topic, life, 1 when another beginning is to give way, topics' number, topics; then partition and row of each.
-- Begins where nothing stands, or another life does. Every log that stands counts for nothing afterwards.
local topic, life, anew = take(), take(), take()
local at = 'frames:at:' .. topic
local stands = redis.call('HGET', at, 'life') == life
local topics = {}
for _ = 1, tonumber(take()) do topics[#topics + 1] = take() end
if stands and anew ~= '1' then return 0 end
redis.call('DEL', at, 'frames:floor:' .. topic)
if topic == 'users' and not stands then redis.call('DEL', 'frames:blocks') end
redis.call('HSET', at, 'life', life, 'moved', whole(now), 'sampled', whole(now))
while ARGV[at_arg + 1] do
  local partition, row = take(), take()
  redis.call('HSET', at, partition, row)
end
for _, each in ipairs(topics) do begin_floor(each) end
redis.call('SET', 'frames:era', whole(math.max(now, tonumber(redis.call('GET', 'frames:era') or '0') + 1)))
redis.call('PUBLISH', 'frames:all', 'b\n')
return 1
