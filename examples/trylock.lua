-- Without waiting: who does not get the lock is told at once who has it. Nothing is written to etcd for that.
--
--   lunarch examples/trylock.lua --dev
local lunarch = require "lunarch"

local function open(name)
  local client = assert(lunarch.connect { name = name })
  local session = assert(client:session())
  return session:mutex "/examples/trylock"
end

local first, second = open "web-1", open "web-2"

assert(first:try_lock())
print("web-1: I have it, token " .. first.token)

local ok, message, code = second:try_lock()
print("web-2: " .. tostring(ok) .. ", " .. message .. " (" .. code .. ")")

first:unlock()
assert(second:try_lock())
print("web-2: now I have it, token " .. second.token .. ": tokens rise from owner to owner")
