-- ARGV: user, retention, number of topics, topics; then topic/partition and position of each place, partition -1 for the whole topic.
-- Answers the user's hash, the entries after the places with their numbers, the log's length, and per topic checkpoint and floor.
local user, retention = take(), tonumber(take())
local topics, standings = {}, {}
for _ = 1, tonumber(take()) do topics[#topics + 1] = take() end
for i, topic in ipairs(topics) do
  age(topic, retention)
  standings[i] = {redis.call('HGETALL', 'frames:at:' .. topic), redis.call('HGETALL', 'frames:floor:' .. topic)}
end
local places = {}
while ARGV[at_arg + 1] do
  local place, position = take(), take()
  places[place] = position
end
local function seen(place)
  local one, all = places[place] or '0', places[string.match(place, '^[^/]+') .. '/-1'] or '0'
  return less(one, all) and all or one
end
local log = 'frames:log:' .. user
local of, length = {}, 0
if redis.call('HGET', 'frames:of:' .. user, 'era') == redis.call('GET', 'frames:era') then
  of, length = redis.call('HGETALL', 'frames:of:' .. user), redis.call('LLEN', log)
end
local newest, pending, count = nil, {}, 0
for i = 1, #of, 2 do
  if of[i] == 'n' then newest = tonumber(of[i + 1]) end
  if string.match(of[i], '^%a+/%d+$') and less(seen(of[i]), of[i + 1]) then
    pending[of[i]] = true
    count = count + 1
  end
end
-- Backwards, until of every place something has been met that was seen already.
local found = {}
local index, page, first = length, {}, length
while count > 0 and index > 0 do
  index = index - 1
  if index < first then
    local from = math.max(0, index - 63)
    page, first = redis.call('LRANGE', log, from, index), from
  end
  local entry = page[index - first + 1]
  local place, position = string.match(entry, '^(%S+) (%d+) ')
  if pending[place] then
    if less(seen(place), position) then
      found[#found + 1] = {whole(newest - (length - 1 - index)), entry}
    else
      pending[place] = nil
      count = count - 1
    end
  end
end
return {of, length, found, standings}
