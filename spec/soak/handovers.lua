-- How long it takes to hand a line over to a named candidate, in real processes: from when the request is sent to etcd
-- until on_elected of the named one, which is the next one in the line, or the last of five. Beside it an ordinary
-- hand-over, in the same run and line, by the same processes and handlers: from a leader's SIGTERM until on_elected of
-- the next one. And how long nobody leads meanwhile: from the end of on_lost until on_elected. The handlers do nothing,
-- so that nothing but lunarch and etcd is measured; whatever on_lost and on_elected do lasts as long in both.
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

-- Whose place is at this position of the line.
local function name_at(client, position)
  local places = assert(handover.places(client, "/measured"))
  return places[position].value
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
  local handed, stopped, handed_gaps, stopped_gaps, to_last = {}, {}, {}, {}, {}
  for _, name in ipairs(NAMES) do
    children[name] = start(server, path, name)
  end
  for i = 1, ROUNDS do
    settle(client)
    local is_named, name
    handed[i], handed_gaps[2 * i - 1], is_named = hand_over(client, children, name_at(client, 2))
    if not is_named then n_wrong = n_wrong + 1 end
    settle(client)
    to_last[i], handed_gaps[2 * i], is_named = hand_over(client, children, name_at(client, #NAMES))
    if not is_named then n_wrong = n_wrong + 1 end
    settle(client)
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
    .. "hand-over by a stop (bar: %.1f); %d did not go to the named one"):format(2 * ROUNDS, handed_gap_ms, ratio,
    MOST_RATIO, n_wrong))
  -- No bar: the request, and the answer of the named one, come before the leader stops its work, each of them written
  -- by one process and read by another; an ordinary hand-over has one such write in all.
  local last_ms = 1000 * median(to_last)
  verdict(true, ("from the request until the named one is elected: %.1f ms where it is the next one, %.2f of an "
    .. "ordinary hand-over, a leader's SIGTERM until the next one is elected; %.1f ms where it is the last of %d, %.2f")
    :format(handed_ms, handed_ms / stopped_ms, last_ms, #NAMES, last_ms / stopped_ms))
end
