-- An example under kill -9, SIGSTOP and a cut network, again and again, with its invariant looked at from outside.
--
--   local results = faults.run(play, 20)         each fault so often, in turn
--
-- A play is an example made ready (spec/examples/plays/NAME.lua returns a function that starts one):
--
--   play.hosts             a list of hosts with the methods kill, start, freeze, thaw, cut, heal (faults.host)
--   play:leader()          the index of the host that leads, as it is seen from outside, or nil
--   play:is_whole()        every host stands in the line again
--   play:troubles()        what was wrong so far, as seen from outside: a list of sentences, empty at best
--   play:stop()
local clock = require "support.clock"
local process = require "support.process"
local proxies = require "support.proxy"
local tree = require "support.tree"
local wait = require "support.wait"

local faults = {}

-- What is done to the leading host, and what mends it.
local KINDS = { { "kill", "start" }, { "freeze", "thaw" }, { "cut", "heal" } }

local LONGEST_PAUSE_S = 1

local function children_of(pid, found)
  found[#found + 1] = pid
  for child in tree.read(("/proc/%d/task/%d/children"):format(pid, pid)):gmatch "%d+" do
    children_of(math.tointeger(tonumber(child)), found)
  end
  return found
end

local Host = {}
Host.__index = Host

function Host:pids() return process.is_running(self.child.pid) and children_of(self.child.pid, {}) or {} end

-- In turn the process that it began with, and the one that works.
function Host:kill()
  self.n_killed = self.n_killed + 1
  local pids = self:pids()
  local is_whole = self.n_killed % 2 == 1
  process.kill9(is_whole and pids[1] or pids[#pids])
  wait.eventually(function() return not process.is_running(self.child.pid) end, nil, "the host to be down")
end

function Host:start() self.child = process.start(self.command()) end

function Host:freeze()
  self.frozen = self:pids()
  for _, pid in ipairs(self.frozen) do
    process.freeze(pid)
  end
end

function Host:thaw()
  for _, pid in ipairs(self.frozen) do
    process.thaw(pid)
  end
end

function Host:cut() self.proxy:go_silent() end

function Host:heal() self.proxy:heal() end

-- A host whose processes are those of one command, behind a proxy of its own to etcd. `command(endpoint)` gives the
-- words (process.start) each time that it is started; the client must keep to the endpoint given.
---@param port integer etcd's
---@param command fun(endpoint: string): table
function faults.host(port, command)
  local proxy = proxies.start(port)
  local self = setmetatable({ proxy = proxy, n_killed = 0 }, Host)
  self.command = function() return command(proxy.endpoint) end
  self:start()
  return self
end

local function one_fault(play, kind, undo, delays)
  wait.eventually(function() return play:is_whole() and play:leader() end, nil, "a leader and a whole line")
  wait.pass(math.random() * LONGEST_PAUSE_S)
  local index = wait.eventually(function() return play:leader() end, nil, "a leader")
  local host, began_at = play.hosts[index], clock.now()
  host[kind](host)
  wait.eventually(function()
    local leader = play:leader()
    return leader and leader ~= index
  end, nil, ("another leader after %s"):format(kind))
  delays[#delays + 1] = clock.now() - began_at
  host[undo](host)
  return index
end

-- Each fault `n` times. What was seen: for each fault { kind =, n =, median_s =, longest_s = }, and the troubles.
---@param n integer
---@return table[] rows
---@return string[] troubles
function faults.run(play, n)
  local rows = {}
  for i, kind in ipairs(KINDS) do
    local delays = {}
    for _ = 1, n do
      one_fault(play, kind[1], kind[2], delays)
    end
    table.sort(delays)
    rows[i] = { kind = kind[1], n = #delays, median_s = delays[(#delays + 1) // 2], longest_s = delays[#delays] }
  end
  wait.eventually(function() return play:is_whole() end, nil, "the line to be whole in the end")
  return rows, play:troubles()
end

return faults
