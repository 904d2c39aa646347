-- ARGV: pusher, life of a hold in ms, number of topics, topics, users. Answers the number of each user's newest entry (0: none), and per topic the checkpoint.
local pusher, life = take(), take()
local standings, numbers = {}, {}
for i = 1, tonumber(take()) do standings[i] = redis.call('HGETALL', 'frames:at:' .. take()) end
local era = redis.call('GET', 'frames:era')
while ARGV[at_arg + 1] do
  local user = take()
  local key = 'frames:held:' .. user
  redis.call('SADD', key, pusher)
  redis.call('PEXPIRE', key, life)
  local begun, newest = unpack(redis.call('HMGET', 'frames:of:' .. user, 'era', 'n'))
  numbers[#numbers + 1] = begun == era and newest or '0'
end
return {numbers, standings}
