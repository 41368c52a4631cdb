-- A server on sockets of libuv, one instance of which leads: calls of Lunarch's beside sockets of the program's own.
--
--   lua5.4 examples/loops/luv.lua 7001 A            and another with 7002 B (an etcd on 127.0.0.1:2379)
--   echo who | nc 127.0.0.1 7002                    A leads; `stop` ends the one that is asked
--
-- In a callback of libuv's nothing can wait: what calls Lunarch there is spawned as a task.
local lunarch = require "lunarch"
local uv = require "luv"

local listener = uv.new_tcp()
local port, name, endpoints = tonumber(arg[1]), arg[2], arg[3]
assert(port and name, "usage: luv.lua PORT NAME [ENDPOINTS]")
io.stdout:setvbuf "line"

local client = assert(lunarch.connect { name = name, endpoints = endpoints })
local session

local function leader()
  local found, message, code = session:election("/examples/loops"):leader(1)
  return found and found.value or code == "no_leader" and "nobody" or message
end

local function stop()
  print(name .. ": stops")
  listener:close()
  client:close(5)
end

local function answer(connection, line)
  if line == "stop" then return stop() end
  connection:write((line == "who" and leader() or "what?") .. "\n")
end

local function serve()
  local connection = uv.new_tcp()
  listener:accept(connection)
  local rest = ""
  connection:read_start(function(_, data)
    if not data then return connection:close() end
    rest = rest .. data
    for line in rest:gmatch "([^\n]*)\n" do
      lunarch.spawn(answer, connection, line)
    end
    rest = rest:match "[^\n]*$" or ""
  end)
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
      lunarch.sleep(1)
    end
  end
end

lunarch.run(function()
  session = assert(client:session { ttl = 5 })
  assert(listener:bind("127.0.0.1", port))
  assert(listener:listen(16, serve))
  print(name .. ": listens")
  lead()
end)
