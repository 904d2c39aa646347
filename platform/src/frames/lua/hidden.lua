-- ARGV: user, peer, life in ms.
local user, peer = take(), take()
hide(user, peer, take())
return 0
