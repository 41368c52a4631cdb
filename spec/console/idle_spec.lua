-- limit: 90 s
-- The console at the prompt does nothing until something happens; and it is there about as soon as a script runs.
local etcd = require "support.etcd"
local median = require "support.median"
local terminal = require "support.terminal"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local QUIET_S = 3
local MOST_WAKEUPS = 5
local N_STARTS = 9

describe("the console at the prompt", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(terminal.end_all)

  -- How often the thread that runs Lua has slept so far.
  local function sleeps_of(pid)
    local status = tree.read(("/proc/%d/task/%d/status"):format(pid, pid))
    return math.tointeger(tonumber(status:match "\nvoluntary_ctxt_switches:%s*(%d+)"))
  end

  it("does not wake up while nothing happens", function()
    local t = terminal.start { "lunarch", "console", "--endpoints", server.endpoint }
    t:wait "^> ?$"
    t:enter "#members()"
    local pid = t:pid()
    wait.pass(0.5)
    local before = sleeps_of(pid)
    wait.pass(QUIET_S)
    local n = sleeps_of(pid) - before
    assert.truthy(n <= MOST_WAKEUPS, ("it woke up %d times in %g s"):format(n, QUIET_S))
  end)

  local function milliseconds_until(words, pattern)
    local began = uv.hrtime()
    local t = terminal.start(words)
    if pattern then
      wait.eventually(function() return t.raw:find(pattern) end)
    else
      t:wait_exit()
    end
    local took = (uv.hrtime() - began) / 1e6
    if pattern then
      t:type "\4"
      t:wait_exit()
    end
    return took
  end

  it("is there about as soon as a script of nothing has run (printed)", function()
    local script = tree.folder() .. "/empty.lua"
    tree.write(script, "")
    local runs, consoles = {}, {}
    for i = 1, N_STARTS do
      runs[i] = milliseconds_until { "lunarch", "run", script }
      consoles[i] = milliseconds_until({ "lunarch", "console", "--endpoints", server.endpoint }, "\n[^\n]*> ")
    end
    local run_ms, console_ms = median(runs), median(consoles)
    io.stderr:write(("start of the console: %.2f x lunarch run of an empty script (%.1f and %.1f ms)\n"):format(
      console_ms / run_ms, console_ms, run_ms))
  end)
end)
