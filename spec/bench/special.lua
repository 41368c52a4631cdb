-- What ./dev bench measures by other means than its three programs: other processes and their memory, etcd's CPU.
local cjson = require "cjson"
local clock = require "support.clock"
local lunarch = require "lunarch"
local median = require "support.median"
local process = require "support.process"
local tree = require "support.tree"
local wait = require "support.wait"

local special = {}

local TICK_US = 10000
local CALM_S, TIMES, TTL = 30, 9, 10
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

-- A guarded leader, or one that waits behind another; its worker, once there.
local function candidate(server, election, name)
  n_scripts = n_scripts + 1
  local path = ("%s/%d.lua"):format(tree.folder(), n_scripts)
  tree.write(path, SCRIPT)
  return process.start {
    "lunarch", "run", path, "--election", election, "--name", name, "--ttl", TTL, "--endpoints", server.endpoint,
  }
end

local function worker_of(child)
  return wait.eventually(function()
    return tree.read(("/proc/%d/task/%d/children"):format(child.pid, child.pid)):match "%d+"
  end)
end

function special.worker(server)
  local child = candidate(server, "/bench/worker", "A")
  child:wait_line "elected"
  local kb = tonumber(tree.read("/proc/" .. worker_of(child) .. "/status"):match "VmRSS:%s+(%d+)")
  child:kill9()
  return { lua = { rss_kb = kb } }
end

function special.takeover(server)
  local client = assert(lunarch.connect { endpoints = server.endpoint, loop = "block" })
  local spans = {}
  for i = 1, TIMES do
    local election = "/bench/takeover/" .. i
    local first = candidate(server, election, "A")
    first:wait_line "elected"
    local second = candidate(server, election, "B")
    wait.eventually(function()
      local _, info = client:get(election .. "/", { prefix = true, count_only = true }, 5)
      return info and info.count == 2
    end)
    wait.pass(0.3)
    local killed_at = clock.now()
    process.kill9(math.tointeger(tonumber(worker_of(first))))
    spans[i] = (second:wait_line("elected").t - killed_at) * 1000
    second:kill9()
    first:kill9()
  end
  client:close(5)
  return { lua = { ms = median(spans) } }
end

-- etcdctl stands where the floor does.
function special.command(server)
  local spans = { floor = {}, lua = {} }
  local commands = {
    floor = { tree.etcdctl, "--endpoints", server.endpoint, "lock", "/bench/etcdctl", "true" },
    lua = { tree.program, "lock", "--endpoints", server.endpoint, "/bench/lunarch", "--", "true" },
  }
  for i = 1, TIMES do
    for who, command in pairs(commands) do
      local began_at = clock.now()
      assert(os.execute("ETCDCTL_API=3 " .. tree.quote(command) .. " >/dev/null 2>&1"))
      spans[who][i] = (clock.now() - began_at) * 1000
    end
  end
  return { floor = { ms = median(spans.floor) }, lua = { ms = median(spans.lua) } }
end

return special
