-- For wire_spec.lua, run by own_net.sh: a connection from the far end of a wire, with the wire well, silent, slow and
-- well again. Prints how each went, or "not allowed".
local uv = require "luv"
local clock = require "support.clock"
local process = require "support.process"
local wire = require "chaos.wire"

if not wire.is_at_hand() then
  print "not allowed"
  os.exit(0)
end

local KB, LIMIT_MS = 16, 1500

local own = wire.lay(1)
local listener = uv.new_tcp()
assert(listener:bind(own.host, 0))
assert(listener:listen(8, function()
  local socket = uv.new_tcp()
  listener:accept(socket)
  socket:write(("x"):rep(1024 * KB), function() socket:shutdown(function() socket:close() end) end)
end))

local READER = ([[
  local uv = require "luv"
  local socket, n = uv.new_tcp(), 0
  uv.new_timer():start(%d, 0, function() os.exit(1) end)
  socket:connect("%s", %d, function(err)
    if err then os.exit(1) end
    socket:read_start(function(_, data)
      if not data then os.exit(n == %d and 0 or 1) end
      n = n + #data
    end)
  end)
  uv.run()
]]):format(LIMIT_MS, own.host, listener:getsockname().port, 1024 * KB)

-- Whether all of it came through, and how long it took.
local function read()
  local started, result = clock.now(), nil
  uv.spawn("nsenter", { args = { select(2, own:inside("lua5.4", "-e", READER)) }, stdio = { nil, 1, 2 } },
    function(status) result = status end)
  while not result do
    uv.run "once"
  end
  return result == 0, clock.now() - started
end

local function tell(what)
  local is_whole, seconds = read()
  print(("%s %s %.2f"):format(what, is_whole and "whole" or "nothing", seconds))
end

tell "well"
own:drop()
tell "silent"
own:pass()
tell "well"
own:slow()
tell "slow"
own:pass()
tell "well"
process.kill9(own.pid)
os.exit(0)
