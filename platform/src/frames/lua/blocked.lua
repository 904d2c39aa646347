-- ARGV: by, towards, 1 or 0, partition and position of the event. What the projection has seen it has told.
local by, towards, stands, partition, position = take(), take(), take(), take(), take()
local seen = rows('users')
if not (seen[partition] and not less(seen[partition], position)) and not (seen['-1'] and not less(seen['-1'], position)) then
  set_block(by, towards, stands == '1', position, true)
  send()
end
return 0
