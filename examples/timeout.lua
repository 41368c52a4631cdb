-- What the TTL of a session is for: a holder that dies is released by it, a live one keeps its lock far beyond.
--
--   lunarch examples/timeout.lua --dev
local lunarch = require "lunarch"

local TTL = 2
local client = assert(lunarch.connect())

local function since(start)
  return ("after %.1f s"):format(lunarch.now() - start)
end

-- A session renews its lease in the background: its lock is held until it is given up.
local alive = assert(client:session { ttl = TTL })
local held = alive:mutex "/examples/timeout"
assert(held:lock())

local patient = assert(client:session { ttl = TTL })
local wanted = patient:mutex "/examples/timeout"

local start = lunarch.now()
local ok, message = wanted:lock(3 * TTL)
print(since(start), ok and "got it?!" or "a live holder keeps its lock: " .. message)

-- As if its process had been killed: nobody renews the lease any more, and nobody revokes it.
alive:orphan()
print("now the holder dies; its lease had at most " .. TTL .. " s to live")

start = lunarch.now()
assert(wanted:lock())
print(since(start), "the lock of a dead holder is free: token " .. wanted.token)
