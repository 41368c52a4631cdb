-- ./dev demo [FLAGS]: three candidates of failover.lua on a private etcd, side by side. The leader is asked to stop,
-- the next one is killed, and each time another takes over. Flags are handed on: `./dev demo --endpoints
-- etcd-1:2379,...` shows the same on your own etcd.
local uv = require "luv"
local json = require "cjson"

local NAMES = { "A", "B", "C" }
local COLOURS = { A = 36, B = 33, C = 35 }
local TTL_S = 3
local PATIENCE_S = 20
local LOOK_S = 2 -- how long to watch them work

local here = arg[0]:match "^(.*)/[^/]*$" or "."
local build = os.getenv "LUNARCH_BUILD" or here .. "/../build/dev"
local program = arg[-1]:match "lunarch$" and arg[-1] or build .. "/bin/lunarch"

local is_coloured = uv.guess_handle(1) == "tty" and (os.getenv "NO_COLOR" or "") == ""
local started_ms = uv.hrtime() / 1e6
local children, leader, etcd_folder = {}, nil, nil
local is_interrupted = false

-- ---- what is shown ----------------------------------------------------------------------------------------------

local function now_ms()
  return uv.hrtime() / 1e6 - started_ms
end

local function paint(code, text)
  return is_coloured and ("\27[%dm%s\27[0m"):format(code, text) or text
end

local function column_width()
  local width = tonumber(os.getenv "COLUMNS")
  if uv.guess_handle(1) == "tty" then
    local tty = uv.new_tty(1, false)
    width = tty:get_winsize()
    tty:close()
  end
  return math.max(18, math.min(36, ((width or 80) - 9) // #NAMES - 1))
end

local WIDTH = column_width()

local function fit(text)
  local room = WIDTH - 2
  return #text > room and text:sub(1, room - 2) .. ".." or text
end

local function row(name, text)
  local before = 0
  while NAMES[before + 1] ~= name do
    before = before + 1
  end
  local indent = (" "):rep(before * (WIDTH + 1))
  local line = ("%6.2f s %s%s"):format(now_ms() / 1000, indent, paint(COLOURS[name], name .. " " .. fit(text)))
  print(line)
end

local function tell(format, ...)
  print(paint(1, "         " .. format:format(...)))
end

-- ---- what is awaited --------------------------------------------------------------------------------------------

-- The story is a coroutine, told on at each line of a child and each end of one, and now and then.
local story, failure

local function go_on()
  if coroutine.status(story) == "dead" then return end
  local ok, err = coroutine.resume(story)
  if not ok then failure = err end
end

local function await(what, condition, limit_s)
  local until_ms = now_ms() + (limit_s or PATIENCE_S) * 1000
  while not condition() do
    if is_interrupted then error("interrupted", 0) end
    for _, child in ipairs(children) do
      if child.has_ended and not child.is_doomed then
        error(("%s has ended by itself, with: %s"):format(child.name, child.last), 0)
      end
    end
    if now_ms() > until_ms then error("waited in vain for " .. what, 0) end
    coroutine.yield()
  end
end

local function watch_for(seconds)
  local until_ms = now_ms() + seconds * 1000
  await("the clock", function() return now_ms() >= until_ms end, seconds + 1)
end

-- ---- the candidates ---------------------------------------------------------------------------------------------

local function on_line(child, line)
  local ok, entry = pcall(json.decode, line)
  local message = ok and type(entry) == "table" and entry.message or line
  etcd_folder = etcd_folder or message:match "^private etcd: .* unix://(.*)/[^/]* get"
  if message:find "^private etcd" then return end
  row(child.name, message)
  if message:find "^elected" then
    leader = child
    child.elected_ms = now_ms()
  end
  child.last = message
  go_on()
end

local function read_lines(child, pipe)
  local rest = ""
  pipe:read_start(function(_, data)
    if not data then return end
    rest = rest .. data
    for line in rest:gmatch "([^\n]*)\n" do
      on_line(child, line)
    end
    rest = rest:match "[^\n]*$"
  end)
end

local function words_of(name)
  local words = {
    "--pdeathsig", "TERM", program, "run", here .. "/failover.lua", "--name", name, "--ttl", tostring(TTL_S),
    "--election", ("/demo/%d"):format(uv.os_getpid()), "--log", "json",
  }
  for _, flag in ipairs(arg[1] and arg or { "--dev" }) do
    words[#words + 1] = flag
  end
  return words
end

local function start(name)
  local child = { name = name }
  local pipe = uv.new_pipe()
  -- Should we be killed, the kernel ends them.
  child.handle, child.pid = uv.spawn("setpriv", {
    args = words_of(name),
    stdio = { nil, 2, pipe },
  }, function(status, signal)
    child.has_ended = true
    row(name, signal ~= 0 and "ended by signal " .. signal or "ended with status " .. status)
    go_on()
  end)
  if not child.handle then error("cannot start " .. program .. ": " .. child.pid, 0) end
  read_lines(child, pipe)
  children[#children + 1] = child
end

local function is_all_told()
  if not leader then return false end
  for _, child in ipairs(children) do
    local last = child.last or ""
    if not child.has_ended and child ~= leader and last ~= "leader is " .. leader.name then return false end
  end
  return true
end

local function others_take_over(old, since_ms, note)
  await("another leader", function() return leader ~= old end)
  tell("%s took over from %s after %.0f ms%s", leader.name, old.name, leader.elected_ms - since_ms, note)
end

-- ---- the story --------------------------------------------------------------------------------------------------

story = coroutine.create(function()
  tell("three candidates for one office, each a process of its own, TTL %d s", TTL_S)
  for _, name in ipairs(NAMES) do
    start(name)
  end
  await("a leader", is_all_told)
  tell("%s leads, the others stand by", leader.name)
  watch_for(LOOK_S)

  local first, first_ms = leader, now_ms()
  tell("%s is asked to stop (SIGTERM)", first.name)
  first.is_doomed = true
  first.handle:kill "sigterm"
  others_take_over(first, first_ms, ": it was handed the office")
  await("the end of " .. first.name, function() return first.has_ended end)
  watch_for(LOOK_S)

  local second, second_ms = leader, now_ms()
  tell("%s is killed (SIGKILL): it can hand over nothing, and its lease has to run out", second.name)
  second.is_doomed = true
  second.handle:kill "sigkill"
  others_take_over(second, second_ms, "")
  watch_for(LOOK_S)
  tell("that was all: in between there never were two")
end)

local function is_everybody_gone()
  for _, child in ipairs(children) do
    if not child.has_ended then return false end
  end
  return not (etcd_folder and uv.fs_stat(etcd_folder))
end

-- Asks all to stop, and waits for the private etcd to be gone; not for ever, since others may use it too.
local function clear_up()
  for _, child in ipairs(children) do
    if not child.has_ended then child.handle:kill "sigterm" end
  end
  local until_ms = now_ms() + 10000
  while not is_everybody_gone() and now_ms() < until_ms do
    uv.run "nowait"
    uv.sleep(5)
    for _, child in ipairs(children) do
      if not child.has_ended and now_ms() > until_ms - 2000 then child.handle:kill "sigkill" end
    end
  end
end

for _, name in ipairs { "sigint", "sigterm", "sighup" } do
  uv.new_signal():start(name, function()
    is_interrupted = true
    go_on()
  end)
end
uv.new_timer():start(0, 20, go_on)

while coroutine.status(story) ~= "dead" do
  uv.run "once"
end
clear_up()
if failure then
  io.stderr:write("demo: ", tostring(failure), "\n")
  os.exit(is_interrupted and 130 or 1)
end
