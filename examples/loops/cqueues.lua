-- A server on sockets of cqueues, one instance of which leads: calls of Lunarch's beside sockets of the program's own.
--
--   lua5.4 examples/loops/cqueues.lua 7001 A        and another with 7002 B (an etcd on 127.0.0.1:2379)
--   echo who | nc 127.0.0.1 7002                    A leads; `stop` ends the one that is asked
--
-- Nothing is set up for it: a call that is made in a coroutine of cqueues' yields that coroutine.
local cqueues = require "cqueues"
local lunarch = require "lunarch"
local socket = require "cqueues.socket"

local port, name, endpoints = tonumber(arg[1]), arg[2], arg[3]
assert(port and name, "usage: cqueues.lua PORT NAME [ENDPOINTS]")
io.stdout:setvbuf "line"

local cq = cqueues.new()
local client = assert(lunarch.connect { name = name, endpoints = endpoints })
local session
local is_stopped = false

local function leader()
  local found, message, code = session:election("/examples/loops"):leader(1)
  return found and found.value or code == "no_leader" and "nobody" or message
end

local function stop()
  print(name .. ": stops")
  is_stopped = true
  client:close(5)
end

local function serve(connection)
  connection:setmode("b", "bl")
  for line in connection:lines() do
    if line == "stop" then return stop() end
    connection:write(line == "who" and leader() or "what?", "\n"):flush()
  end
  connection:close()
end

-- Stands until it is elected, leads until it loses, stands again, until the client is closed.
local function lead()
  local election = assert(session:election "/examples/loops")
  while true do
    local term, message, code = election:campaign(name)
    if code == "closed" then return end
    if term then
      print(("%s: leads, token %d"):format(name, term.token))
      print(("%s: no more: %s"):format(name, term:await_loss()))
    else
      print(("%s: %s"):format(name, message))
      cqueues.sleep(1)
    end
  end
end

cq:wrap(function()
  session = assert(client:session { ttl = 5 })
  cq:wrap(lead)
  local listener = assert(socket.listen { host = "127.0.0.1", port = port, reuseaddr = true })
  print(name .. ": listens")
  while not is_stopped do
    local connection = listener:accept(0.2)
    if connection then cq:wrap(serve, connection) end
  end
  listener:close()
end)

assert(cq:loop())
