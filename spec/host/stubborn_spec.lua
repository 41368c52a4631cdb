-- Handlers that catch every error, and so never hear that they should end. The program ends all the same, and nobody
-- else waits for their place for ever.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"

describe("a handler that catches every error and goes on", function()
  local server
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)
  before_each(function() n = n + 1 end)

  local STUBBORN = "while true do pcall(lunarch.sleep, 1) end"

  local function run(text, ...)
    return script.start("stop_timeout = 0.5\nttl = 2\n" .. text, { "--endpoints", server.endpoint, ... })
  end

  local function start(handlers, name)
    return run(handlers, "--election", "/stubborn/" .. n, "--name", name or "A")
  end

  local function ends_by_a_signal(child)
    child:signal "sigterm"
    local status, number = child:wait_exit()
    assert.same({ 0, 0 }, { status, number })
  end

  it("as do_work cannot keep the program from ending, and on_lost follows, without overlapping with it", function()
    local child = start([[
      ttl = 30
      function do_work() print 'work' while true do pcall(lunarch.sleep, 1) print 'goes on' end end
      function on_lost() print 'lost' lunarch.sleep(0.3) print 'lost returned' end]])
    child:wait_line "work"
    ends_by_a_signal(child)
    assert.truthy(child:output():find("do_work has not ended 0.5 s after it was told to (stopping)", 1, true))
    local said = {}
    for _, line in ipairs(child:lines()) do
      if line.from == "out" and line.text ~= said[#said] then said[#said + 1] = line.text end
    end
    assert.same({ "work", "goes on", "lost", "lost returned" }, said)
  end)

  -- The stop_timeout is long: what ends them is that they are told again and again.
  for what, loop in pairs {
    ["a bare yield"] = "while true do coroutine.yield() end",
    ["a bare yield under pcall"] = "while true do pcall(coroutine.yield) end",
    ["a sleep under pcall"] = "while true do pcall(lunarch.sleep, 1) end",
    ["a sleep under xpcall, whose message handler waits"] =
      "while true do xpcall(lunarch.sleep, function() lunarch.sleep(1) end, 1) end",
    ["a call whose error is swallowed"] = "local c = lunarch.connect() while true do pcall(c.get, c, '/k') end",
    ["a variable whose __close waits"] = [[
      local guarded <close> = setmetatable({}, { __close = function() while true do pcall(lunarch.sleep, 1) end end })
      lunarch.sleep(100)]],
    ["a generator"] = [[
      for _ in coroutine.wrap(function() while true do pcall(lunarch.sleep, 1) coroutine.yield(1) end end) do end]],
    ["a generator that never yields"] = "coroutine.wrap(function() while true do pcall(lunarch.sleep, 1) end end)()",
  } do
    it("is ended at a stop, and on_lost follows: " .. what, function()
      local child = script.start(([[
        stop_timeout = 60
        function do_work() print "work" %s end
        function on_lost(_, reason) print("lost " .. reason) end]]):format(loop),
        { "--endpoints", server.endpoint, "--election", "/stubborn/" .. n, "--name", "A", "--ttl", "30" })
      child:wait_line "work"
      ends_by_a_signal(child)
      assert.equal("lost stopping", child:find("^lost").text)
      assert.is_nil(child:find "not resumed")
    end)
  end

  for _, name in ipairs { "on_lost", "on_leader" } do
    it("as " .. name .. " cannot keep the program from ending", function()
      local child = start(("function do_work() print 'work' end function %s() %s end"):format(name, STUBBORN))
      child:wait_line "work"
      ends_by_a_signal(child)
    end)
  end

  it("as on_elected in one candidate is no hindrance to another of the same script", function()
    local child = run(([[
      candidate { name = "X", election = "/stubborn/x", on_elected = function(term)
        term:resign()
        %s
      end }
      candidate { name = "Y", election = "/stubborn/y", do_work = function()
        works = (works or 0) + 1
        print("Y works " .. works)
        return 0.1
      end }
    ]]):format(STUBBORN))
    child:wait_line "Y works 10"
  end)

  it("as do_standby does not keep a place that it has won", function()
    local first = start "function do_work() print 'work' end"
    first:wait_line "work"
    local second = start("function do_standby() print 'standby' " .. STUBBORN .. " end function do_work() end", "B")
    second:wait_line "standby"
    ends_by_a_signal(first)
    second:wait_line "do_standby does not end"
    start("function on_elected() print 'elected' end", "C"):wait_line "elected"
  end)
end)
