-- ARGV: user, peer.
local user, peer = take(), take()
hide(user, peer)
return 0
