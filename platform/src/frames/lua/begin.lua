-- ARGV: topic, life, 1 when another beginning is to give way, topics' number, topics; then partition and row of each.
-- Begins where nothing stands, or another life does. Where something stood, every log counts for nothing afterwards: its positions may be above what comes.
local topic, life, anew = take(), take(), take()
local at = 'frames:at:' .. topic
local stood = redis.call('HGET', at, 'life')
local topics = {}
for _ = 1, tonumber(take()) do topics[#topics + 1] = take() end
if stood == life and anew ~= '1' then return 0 end
redis.call('DEL', at, 'frames:floor:' .. topic)
if topic == 'users' and stood ~= life then redis.call('DEL', 'frames:blocks') end
redis.call('HSET', at, 'life', life, 'moved', whole(now), 'sampled', whole(now))
while ARGV[at_arg + 1] do
  local partition, row = take(), take()
  redis.call('HSET', at, partition, row)
end
begin_floor(topic)
local era = redis.call('GET', 'frames:era')
if stood or not era then
  for _, each in ipairs(topics) do begin_floor(each) end
  redis.call('SET', 'frames:era', whole(math.max(now, tonumber(era or '0') + 1)))
end
redis.call('PUBLISH', 'frames:all', 'b\n')
return 1
