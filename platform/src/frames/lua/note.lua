-- ARGV: text, users.
local text, users = take(), {}
while ARGV[at_arg + 1] do users[#users + 1] = take() end
note(users, text)
send()
return 0
