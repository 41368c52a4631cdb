-- limit: 90 s
-- However the console ends or is stopped, the terminal is as it was.
local terminal = require "support.terminal"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("the terminal", function()
  after_each(terminal.end_all)

  -- The shell notes how the terminal is set, before and after; what ends the console does not end the shell.
  local SHELL = "trap : INT QUIT; stty -a > $0; $1 console --sim; echo status $?; stty -a | diff $0 - && echo the same"

  local function start()
    local t = terminal.start { "sh", "-c", SHELL, os.tmpname(), tree.program }
    t:wait "^sim> ?$"
    local child = tree.read(("/proc/%d/task/%d/children"):format(t:pid(), t:pid())):match "%d+"
    return t, math.tointeger(tonumber(child))
  end

  local function compute(t, text)
    t:type("print 'begun' " .. text .. "\r")
    t:wait "^begun$"
  end

  local BUSY = "while true do end"

  -- Fields of proc(5)'s stat.
  local PGRP, TPGID, UTIME, STIME = 5, 8, 14, 15

  local function stat_of(pid)
    local fields = {}
    for field in tree.read("/proc/" .. pid .. "/stat"):gsub("%b()", "name"):gmatch "%S+" do
      fields[#fields + 1] = math.tointeger(tonumber(field)) or field
    end
    return fields
  end

  local function ticks_of(pid)
    local stat = stat_of(pid)
    return stat[UTIME] + stat[STIME]
  end

  -- Until what computes has noticed a signal, and another one counts as a second.
  local function await_notice(pid)
    local before = ticks_of(pid)
    wait.eventually(function() return ticks_of(pid) > before + 2 end)
    wait.pass(0.2)
  end

  local WAYS = {
    ["a second SIGTERM, while something computes"] = { 143, function(t, pid)
      compute(t, BUSY)
      uv.kill(pid, "sigterm")
      await_notice(pid)
      uv.kill(pid, "sigterm")
    end },
    ["SIGHUP"] = { 129, function(_, pid) uv.kill(pid, "sighup") end },
    ["a third Ctrl-C, while something computes that it does not reach"] = { 130, function(t, pid)
      compute(t, "string.find(('a'):rep(1000), ('.-'):rep(20) .. 'b')")
      for i = 1, 3 do
        t:type "\3"
        if i < 3 then await_notice(pid) end
      end
    end },
    ["Ctrl-\\"] = { 131, function(t) t:type "half a line\28" end },
    ["os.exit"] = { 7, function(t) t:type "os.exit(7)\r" end },
  }
  for name, way in pairs(WAYS) do
    it("is as it was after " .. name, function()
      local t, pid = start()
      way[2](t, pid)
      t:wait "^the same$"
      assert.truthy(t:text():find(("\nstatus %d\n"):format(way[1]), 1, true), t:text())
    end)
  end

  it("is that of the shell while Ctrl-Z has stopped the console, which goes on with its line after fg", function()
    local t = terminal.start({ "bash", "--norc", "--noprofile", "-i" }, { env = { PS1 = "$ " } })
    t:wait "^%$ ?$"
    t:type(tree.program .. " console --sim\r")
    t:wait "^sim> ?$"
    t:type "1 + "
    t:wait "^sim> 1 %+ ?$"
    for _ = 1, 2 do
      t:type "\26"
      t:wait "^%$ ?$"
      t:type "stty -a | grep -o -- '-\\?icanon'\r"
      t:wait_text "\nicanon\n"
      t:type "fg\r"
      t:wait "^sim> 1 %+ ?$"
    end
    t:type "1\r"
    t:wait_text "\n2\n"
    t:wait "^sim> ?$"
    compute(t, BUSY)
    t:type "\26"
    t:wait "^%$ ?$"
    t:type "fg\r"
    local stat = stat_of(t:pid())
    wait.eventually(function() return stat_of(t:pid())[TPGID] ~= stat[PGRP] end, nil, "the console to be in front")
    t:type "\3"
    t:wait "^sim> ?$"
  end)
end)
