-- How long it takes to hand a line over to a named candidate, in real processes: from when the request is sent to etcd
-- until on_elected of the named one; beside it, in the same run and line, from a leader's SIGTERM until on_elected of
-- the next one. And how long nobody leads meanwhile.
local etcd = require "support.etcd"
local handover = require "lunarch.handover"
local lunarch = require "lunarch"
local median = require "support.median"
local process = require "support.process"
local script = require "host.script"
local uv = require "luv"
local wait = require "support.wait"

local NAMES, ROUNDS, MOST_RATIO = { "A", "B", "C", "D", "E" }, 21, 1.5
local SETTLE_MS = 300

local SCRIPT = [[
  local function say(what) print(("%s %.6f"):format(what, lunarch.now())) end
  election, ttl = "/measured", 60
  function on_elected() say "elected" end
  function do_work() return 0.05 end
  function on_lost() say "lost" end
]]

local function start(server, path, name)
  return process.start { "lunarch", "run", path, "--endpoints", server.endpoint, "--name", name }
end

-- The last time that a candidate said this, and how often it did.
local function last(child, what)
  local lines = child:find_all("^" .. what)
  local line = lines[#lines]
  return line and tonumber(line.text:match "%d+%.%d+") or 0, #lines
end

local function leader_of(children)
  local who, latest = nil, 0
  for name, child in pairs(children) do
    local at = last(child, "elected")
    if at > latest then who, latest = name, at end
  end
  return who, latest
end

-- Waits for the win that comes after `since`: whose it is, and when.
local function win_after(children, since)
  local who, at
  wait.eventually(function()
    who, at = leader_of(children)
    return at > since
  end, nil, "another leader")
  return who, at
end

-- Until all stand in the line.
local function settle(client)
  wait.eventually(function() return #client:get("/measured/", { prefix = true }) == #NAMES end, nil, "all to stand")
  uv.sleep(SETTLE_MS)
end

local function another_than(name)
  local found
  repeat found = NAMES[math.random(#NAMES)] until found ~= name
  return found
end

-- Hands over to `to`: seconds until it is elected, and without a leader.
local function hand_over(client, children, to)
  local sent_at
  local recorder = setmetatable({
    txn = function(_, ...)
      sent_at = lunarch.now()
      return client:txn(...)
    end,
  }, { __index = function(_, name)
    return function(_, ...) return client[name](client, ...) end
  end })
  local from = leader_of(children)
  assert(handover.ask(recorder, "/measured", { to = to, by = "the measurement", within = 30 }))
  local who, at = win_after(children, sent_at)
  return at - sent_at, at - last(children[from], "lost"), who == to
end

-- Stops the leader: seconds until the next one is elected, and without a leader.
local function stop_leader(children)
  local name = leader_of(children)
  local child = children[name]
  local asked_at = lunarch.now()
  child:signal "sigterm"
  child:wait_exit()
  local lost_at = last(child, "lost")
  children[name] = nil
  local _, at = win_after(children, asked_at)
  return name, at - asked_at, at - lost_at
end

---@param verdict fun(is_fine: boolean, what: string, troubles?: string[])
return function(verdict)
  local server, path = etcd.start(), script.write(SCRIPT)
  local client = assert(lunarch.connect { endpoints = server.endpoint })
  local children, n_wrong = {}, 0
  local handed, stopped, handed_gaps, stopped_gaps = {}, {}, {}, {}
  for _, name in ipairs(NAMES) do
    children[name] = start(server, path, name)
  end
  for i = 1, ROUNDS do
    settle(client)
    local is_named
    handed[i], handed_gaps[i], is_named = hand_over(client, children, (another_than(leader_of(children))))
    if not is_named then n_wrong = n_wrong + 1 end
    settle(client)
    local name
    name, stopped[i], stopped_gaps[i] = stop_leader(children)
    children[name] = start(server, path, name)
  end
  process.end_all()
  client:close(1)
  server:stop()
  local handed_ms, stopped_ms = 1000 * median(handed), 1000 * median(stopped)
  local handed_gap_ms, stopped_gap_ms = 1000 * median(handed_gaps), 1000 * median(stopped_gaps)
  local ratio = handed_gap_ms / stopped_gap_ms
  verdict(ratio <= MOST_RATIO and n_wrong == 0, ("%d switchovers: nobody leads for %.1f ms at the median, %.2f of a "
    .. "hand-over by a stop (bar: %.1f); %d did not go to the named one"):format(ROUNDS, handed_gap_ms, ratio,
    MOST_RATIO, n_wrong))
  -- No bar: four writes, each waited for by another process, come before the leader stops its work.
  verdict(true, ("from the request until the named one is elected: %.1f ms, %.2f of a leader's SIGTERM until the next "
    .. "one is"):format(handed_ms, handed_ms / stopped_ms))
end
