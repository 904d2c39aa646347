-- ARGV: topic, life, retention, grain, entries kept; then, each with their number before them: moves (partition, from or '', to), bodies (id, text: told, and kept nowhere),
-- blocks (by, towards, 1 or 0, position), appends (user, partition, position, text, body or '', one or '', other).
-- Answers whether it is taken: 1, also when it was before; 0: the checkpoint is another.
local topic, life, retention, grain, most = take(), take(), tonumber(take()), tonumber(take()), tonumber(take())
local at = 'frames:at:' .. topic
local partitions, from, moves = {}, {}, {}
for i = 1, tonumber(take()) do
  partitions[i], from[i] = take(), take()
  moves[2 * i - 1], moves[2 * i] = partitions[i], take()
end
local stands = redis.call('HMGET', at, 'life', 'moved', 'sampled', unpack(partitions))
if stands[1] ~= life then return 0 end
local unmoved, taken = true, true
for i = 1, #partitions do
  local row = stands[3 + i] or ''
  unmoved = unmoved and row == from[i]
  taken = taken and row == moves[2 * i]
end
if taken then return 1 end
if not unmoved then return 0 end

local moved, sampled = tonumber(stands[2]), tonumber(stands[3])
if now - moved > retention then begin_floor(topic) end
if now - sampled >= grain then
  age(topic, retention)
  redis.call('RPUSH', 'frames:past:' .. topic, cjson.encode({t = moved, rows = rows(topic)}))
  redis.call('HSET', at, 'sampled', whole(now))
end
redis.call('HSET', at, 'moved', whole(now), unpack(moves))

-- An entry outlives the moment from which on it counts as gone: by a grain for what was sampled late, and one for what was renewed early.
local life_ms = whole(retention + 3 * grain)
local bodies = {}
for _ = 1, tonumber(take()) do
  local id = take()
  bodies[id] = take()
end
for _ = 1, tonumber(take()) do
  local by, towards, stands, position = take(), take(), take(), take()
  set_block(by, towards, stands == '1', position, false)
  if stands ~= '1' and not blocked(by, towards) then
    uncover(by, towards, position, life_ms)
    uncover(towards, by, position, life_ms)
  end
end

local era = redis.call('GET', 'frames:era')
local holders = {}
local function append(user, partition, position, text, body)
  local of, log, place = 'frames:of:' .. user, 'frames:log:' .. user, topic .. '/' .. partition
  local begun, newest, renewed, reached = unpack(redis.call('HMGET', of, 'era', 'n', 'renewed', place))
  if begun ~= era then newest, renewed, reached = nil, nil, nil end
  if reached and not less(reached, position) then return end
  local number = (newest and tonumber(newest) or now) + 1
  local renew = not renewed or now - tonumber(renewed) >= grain
  if renew then renewed = whole(now) end
  if newest then
    redis.call('HSET', of, 'n', whole(number), 'renewed', renewed, place, position)
  else
    -- Numbers begin with the time, so that a log that is begun anew goes on above its predecessor.
    redis.call('DEL', of, log)
    redis.call('HSET', of, 'era', era, 'n', whole(number), 'f', whole(number), 'renewed', renewed, place, position)
  end
  local length = redis.call('RPUSH', log, place .. ' ' .. position .. ' ' .. text)
  while length > most do
    local cut_place, cut_position = string.match(redis.call('LPOP', log), '^(%S+) (%d+) ')
    redis.call('HSET', of, '-' .. cut_place, cut_position)
    redis.call('HINCRBY', of, 'f', 1)
    length = length - 1
  end
  if renew then
    redis.call('PEXPIRE', of, life_ms)
    redis.call('PEXPIRE', log, life_ms)
  end
  local told = holders[user]
  if not told then
    told = pushers(user)
    holders[user] = told
  end
  if #told == 0 then return end
  local content = bodies[body]
  local head = table.concat({'e', user, whole(number), newest or '0', topic, partition, position, #text, content and #content or '-'}, ' ')
  local item = head .. '\n' .. text .. (content or '')
  for _, id in ipairs(told) do tell(id, item) end
end
for _ = 1, tonumber(take()) do
  local user, partition, position, text, body, one, other = take(), take(), take(), take(), take(), take(), take()
  if one == '' or not blocked(one, other) then
    append(user, partition, position, text, body)
  else
    hide(user, one == user and other or one)
  end
end
send()
return 1
