-- The part `requests` of ./dev soak: switchovers and pauses at random in the simulator; and, of real processes, how
-- long nobody leads when a line is handed over to a named candidate, and when a leader is stopped, in one run.
local etcd = require "support.etcd"
local median = require "support.median"
local process = require "support.process"
local simulate = require "sim.simulate"
local tree = require "support.tree"
local uv = require "luv"

local SEEDS, QUIET_SEEDS, LIMIT_S = "1..1000", "1..300", 3600
local NAMES, ROUNDS, MOST_RATIO = { "A", "B", "C", "D", "E" }, 20, 1.5
local SETTLE_MS = 700

local SCRIPT = [[
  local uv = require "luv"
  local function say(what)
    local s, us = uv.gettimeofday()
    print(("%s %d.%06d"):format(what, s, us))
  end
  election, ttl = "/measured", 60
  function on_elected() say "elected" end
  function do_work() return 0.05 end
  function on_lost() say "lost" end
]]

local function simulated(verdict, what, ...)
  local child = simulate.start(tree.root .. "/spec/sim/requests.lua", ...)
  local status = child:wait_exit(LIMIT_S)
  local text = child:output()
  verdict(status == 0, ("%s: %s"):format(what, text:match "[%d,]+ histor[^\n]*" or "broke off"), { text })
end

local function start(server, path, name)
  return process.start { "lunarch", "run", path, "--endpoints", server.endpoint, "--name", name }
end

-- All that was said so far, in the order of time: { at =, what =, who = }.
local function events_of(children)
  local events = {}
  for _, child in ipairs(children) do
    for _, line in ipairs(child.process:lines()) do
      local what, at = line.text:match "^(%a+) (%d+%.%d+)$"
      if what then events[#events + 1] = { what = what, at = tonumber(at), who = child.name } end
    end
  end
  table.sort(events, function(a, b) return a.at < b.at end)
  return events
end

-- The latest gap: between the last two events, a loss and a win.
local function gap_of(children)
  local events = events_of(children)
  local won, lost = events[#events], events[#events - 1]
  if not lost or won.what ~= "elected" or lost.what ~= "lost" then return nil end
  return won.at - lost.at, won.who, lost.who
end

local function leader_of(children)
  local events = events_of(children)
  return events[#events].who
end

local function another_than(name)
  local found
  repeat found = NAMES[math.random(#NAMES)] until found ~= name
  return found
end

local function measure(verdict)
  local server, path = etcd.start(), tree.folder() .. "/measured.lua"
  local file = assert(io.open(path, "w"))
  file:write(SCRIPT)
  file:close()
  local children, by_name, handed, stopped, n_wrong = {}, {}, {}, {}, 0
  local function add(name)
    local child = { name = name, process = start(server, path, name) }
    children[#children + 1], by_name[name] = child, child
    uv.sleep(SETTLE_MS)
  end
  for _, name in ipairs(NAMES) do add(name) end
  for _ = 1, ROUNDS do
    local to = another_than(leader_of(children))
    process.run { "lunarch", "switchover", "/measured", "--to", to, "--endpoints", server.endpoint }
    uv.sleep(SETTLE_MS)
    local gap, who = gap_of(children)
    handed[#handed + 1] = gap
    if who ~= to then n_wrong = n_wrong + 1 end
    local leader = leader_of(children)
    by_name[leader].process:signal "sigterm"
    by_name[leader].process:wait_exit()
    uv.sleep(SETTLE_MS)
    stopped[#stopped + 1] = gap_of(children)
    add(leader)
  end
  process.end_all()
  server:stop()
  local ratio = #handed > 0 and #stopped > 0 and median(handed) / median(stopped) or math.huge
  verdict(ratio <= MOST_RATIO and n_wrong == 0, ("%d switchovers: %.2f ms without a leader at the median, %.2f of a "
    .. "hand-over by a stop (bar: %.1f); %d did not go to the named one"):format(#handed,
    #handed > 0 and 1000 * median(handed) or 0, ratio, MOST_RATIO, n_wrong))
end

---@param say fun(format: string, ...)
---@param verdict fun(is_fine: boolean, what: string, troubles?: string[])
return function(say, verdict)
  say("requests: switchovers and pauses at random, in the simulator and in processes")
  simulated(verdict, "with faults", "--seeds", SEEDS)
  simulated(verdict, "without faults", "--seeds", QUIET_SEEDS, "--faults", "none", "quiet")
  measure(verdict)
end
