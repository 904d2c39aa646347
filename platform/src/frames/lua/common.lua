-- Keys:
--   frames:at:<topic>       hash: partition → "position offset source"; life; moved, sampled (ms)
--   frames:floor:<topic>    hash: partition → position: what is at or before it may be missing in any log
--   frames:past:<topic>     list of samples, oldest first: {t = ms, rows = partition → position}: what is at or before them was appended by then
--   frames:era              when logs were last begun anew (ms): those of another one count for nothing
--   frames:of:<user>        hash: era; n (number of the newest entry), f (of the oldest one kept), renewed (ms, when it was last kept from expiring), topic/partition → last position, -topic/partition → last one cut off
--   frames:log:<user>       list of "topic/partition position text"
--   frames:blocks           hash: by:towards → +position (stands) or -position (lifted, and the projection does not know yet)
--   frames:hidden:<user>    hash: peer → h (a block keeps something of theirs from the user), or the position of that block's end
--   frames:held:<user>      set of pushers, frames:pusher:<pusher> its lease, frames:to:<pusher> its channel, frames:all everybody's
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at_arg = 0
local function take() at_arg = at_arg + 1; return ARGV[at_arg] end
local function whole(number) return string.format('%.0f', number) end

-- Positions are decimal texts: numbers are doubles here.
local function less(a, b) return #a < #b or (#a == #b and a < b) end

local alive = {}
local function pushers(user)
  local key, all = 'frames:held:' .. user, {}
  for _, id in ipairs(redis.call('SMEMBERS', key)) do
    if alive[id] == nil then alive[id] = redis.call('EXISTS', 'frames:pusher:' .. id) == 1 end
    if alive[id] then all[#all + 1] = id else redis.call('SREM', key, id) end
  end
  return all
end

local outbox = {}
local function tell(id, text)
  local box = outbox[id] or {}
  box[#box + 1] = text
  outbox[id] = box
end
local function send()
  for id, box in pairs(outbox) do redis.call('PUBLISH', 'frames:to:' .. id, table.concat(box)) end
end
local function note(users, text)
  local by_pusher = {}
  for _, user in ipairs(users) do
    for _, id in ipairs(pushers(user)) do
      local those = by_pusher[id] or {}
      those[#those + 1] = user
      by_pusher[id] = those
    end
  end
  for id, those in pairs(by_pusher) do tell(id, 'n ' .. table.concat(those, ',') .. ' ' .. #text .. '\n' .. text) end
end

local function rows(topic)
  local all, flat = {}, redis.call('HGETALL', 'frames:at:' .. topic)
  for i = 1, #flat, 2 do
    if string.match(flat[i], '^-?%d+$') then all[flat[i]] = string.match(flat[i + 1], '^%d+') end
  end
  return all
end
local function raise_floor(topic, to)
  for partition, position in pairs(to) do redis.call('HSET', 'frames:floor:' .. topic, partition, position) end
end
local function begin_floor(topic)
  raise_floor(topic, rows(topic))
  redis.call('DEL', 'frames:past:' .. topic)
end
-- What has been kept for its time may be gone.
local function age(topic, retention)
  local moved = redis.call('HGET', 'frames:at:' .. topic, 'moved')
  if not moved then return end
  local past = 'frames:past:' .. topic
  if now - tonumber(moved) > retention then
    begin_floor(topic)
    return
  end
  while true do
    local oldest = redis.call('LINDEX', past, 0)
    local sample = oldest and cjson.decode(oldest)
    if not sample or now - sample.t <= retention then return end
    raise_floor(topic, sample.rows)
    redis.call('LPOP', past)
  end
end

-- Whether anything is known anew of a block.
local function set_block(by, towards, stands, position, kept)
  local field = by .. ':' .. towards
  local known = redis.call('HGET', 'frames:blocks', field)
  local news = not known or less(string.sub(known, 2), position)
  if news and stands then
    redis.call('HSET', 'frames:blocks', field, '+' .. position)
  elseif news and kept then
    redis.call('HSET', 'frames:blocks', field, '-' .. position)
  elseif not kept and not stands and known and not less(position, string.sub(known, 2)) then
    redis.call('HDEL', 'frames:blocks', field)
  end
  if news then
    local text = '{"n":"block","by":"' .. by .. '","towards":"' .. towards .. '","stands":' .. tostring(stands) .. '}'
    note({by, towards}, text)
  end
end
-- Kept for as long as the block stands, and then as long as what is in logs.
local function hide(user, peer)
  local key = 'frames:hidden:' .. user
  redis.call('HSET', key, peer, 'h')
  redis.call('PERSIST', key)
end
-- What was kept from the user is theirs to be told from this position on.
local function uncover(user, peer, position, life_ms)
  local key = 'frames:hidden:' .. user
  if redis.call('HGET', key, peer) ~= 'h' then return end
  redis.call('HSET', key, peer, position)
  for _, state in ipairs(redis.call('HVALS', key)) do
    if state == 'h' then return end
  end
  redis.call('PEXPIRE', key, life_ms)
end
local function blocked(one, other)
  for _, known in ipairs(redis.call('HMGET', 'frames:blocks', one .. ':' .. other, other .. ':' .. one)) do
    if known and string.sub(known, 1, 1) == '+' then return true end
  end
  return false
end
