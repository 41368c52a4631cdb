-- What the service manager is told (sd_notify(3), src/host/notify.c): READY, STATUS, WATCHDOG, RELOADING, STOPPING.
-- Nothing without NOTIFY_SOCKET.
local args = require "lunarch.internal.args"
local host = require "lunarch.host"

args.is_ours()

local notify = {}

local MOST_STATUS_BYTES = 400

local is_wanted = (os.getenv "NOTIFY_SOCKET" or "") ~= ""
local is_ready, status, shown = false, nil, nil

local function send(...)
  if is_wanted then host.notify(table.concat({ ... }, "\n")) end
end

local function plain(text)
  return (text:gsub("%c", " "):sub(1, MOST_STATUS_BYTES))
end

local function words_of(candidate)
  local term = candidate.term
  if candidate.state == "leading" and term then
    return ("%s leads %s, token %d"):format(candidate.name, candidate.election_name, term.token)
  end
  return ("%s in %s: %s"):format(candidate.name, candidate.election_name, candidate.state)
end

--- Whether there is a service manager.
function notify.is_wanted() return is_wanted end

--- Shows what these candidates do, where it has changed.
---@param candidates lunarch.candidate[]
function notify.status(candidates)
  if not is_wanted then return end
  local words = {}
  for i, candidate in ipairs(candidates) do
    words[i] = words_of(candidate)
  end
  status = "STATUS=" .. plain(table.concat(words, "; "))
  if not is_ready or status == shown then return end
  shown = status
  send(status)
end

--- The script runs: from the first turn of the loop on. With the watchdog's words, as often as the manager wants them,
--- for as long as the loop turns. The handles to be kept.
---@return table timers
function notify.start()
  local uv = require "luv"
  local timers = {}
  if not is_wanted then return timers end
  local ready = uv.new_timer()
  ready:start(0, 0, function()
    is_ready, shown = true, status
    send("READY=1", status)
  end)
  ready:unref()
  timers[ready] = true
  local period_ms = host.notify_watchdog()
  if period_ms then
    local watchdog = uv.new_timer()
    watchdog:start(0, math.max(1, period_ms // 2), function() send "WATCHDOG=1" end)
    watchdog:unref()
    timers[watchdog] = true
  end
  return timers
end

--- Between these two the script is loaded anew. Nothing once the program has been told to stop.
function notify.reloading()
  -- The clock is for Type=notify-reload.
  if is_ready then send("RELOADING=1", ("MONOTONIC_USEC=%d"):format(require "luv".hrtime() // 1000)) end
end

function notify.reloaded()
  if is_ready then send("READY=1", status) end
end

--- The program has been told to stop, or its script has ended.
function notify.stopping()
  if not is_ready then return end
  is_ready = false
  send "STOPPING=1"
end

return notify
