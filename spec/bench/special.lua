-- What ./dev bench measures by other means than its three programs: other processes and their memory, etcd's CPU.
local cjson = require "cjson"
local process = require "support.process"
local tree = require "support.tree"

local special = {}

local TICK_US = 10000
local CALM_S, TTL = 30, 10
local SCRIPT = [[
  function on_elected() print "elected" end
  function do_work() return 60 end
]]

--- CPU that a process has used so far, in microseconds.
function special.cpu_us(pid)
  local user, system = tree.read(("/proc/%d/stat"):format(pid)):match("%) " .. ("%S+ "):rep(11) .. "(%d+) (%d+)")
  return (tonumber(user) + tonumber(system)) * TICK_US
end

local function json_of(command)
  local pipe = assert(io.popen("exec " .. tree.quote(command)))
  local output = pipe:read "a"
  if not pipe:close() then error("bench: " .. command[1] .. " failed") end
  return cjson.decode(output:match "{[^\n]*}")
end

--- So many wait in one line, and each is served.
function special.chain(who, server, n)
  if who == "door" then
    return json_of { tree.build .. "/bench/lunarch_line", server.endpoint, server.pid, "chain", n }
  end
  return json_of { "lua5.4", tree.root .. "/spec/bench/line.lua", server.endpoint, n }
end

function special.idle_line(server)
  return {
    door = json_of { tree.build .. "/bench/lunarch_line", server.endpoint, server.pid, "idle", 1000, CALM_S },
  }
end

local n_scripts = 0

-- Leads, once it has printed "elected".
local function candidate(server, election, name)
  n_scripts = n_scripts + 1
  local path = ("%s/%d.lua"):format(tree.folder(), n_scripts)
  tree.write(path, SCRIPT)
  return process.start {
    "lunarch", "run", path, "--election", election, "--name", name, "--ttl", TTL, "--endpoints", server.endpoint,
  }
end

function special.worker(server)
  local child = candidate(server, "/bench/worker", "A")
  child:wait_line "elected"
  local kb = tonumber(tree.read("/proc/" .. child.pid .. "/status"):match "VmRSS:%s+(%d+)")
  child:kill9()
  return { lua = { rss_kb = kb } }
end

return special
