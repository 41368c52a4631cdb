-- limit: 240 s
-- Programs that end themselves while a candidate leads in them: on_lost first, then the place is given up, then the
-- status they would have ended with.
local etcd = require "support.etcd"
local process = require "support.process"
local vm = require "support.vm"

describe("a program that ends itself while it leads", function()
  local server
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)
  before_each(function() n = n + 1 end)

  -- make(own): a candidate whose handlers say that they were called.
  local PRELUDE = [[
    io.stdout:setvbuf "line"
    lunarch = require "lunarch"
    uv = require "luv"
    -- Until do_work was called.
    function led(sleep) while not works do (sleep or lunarch.sleep)(0.01) end end
    function make(own)
      local options = {
        election = election, name = "A", ttl = 30, interval = 0.05,
        on_elected = function() print "on_elected" end,
        do_work = function()
          print "do_work"
          works = true
        end,
        on_lost = function(_, reason)
          print("on_lost " .. reason)
          lunarch.sleep(0.2)
          print "on_lost returned"
        end,
      }
      for name, value in pairs(own or {}) do options[name] = value or nil end
      return lunarch.candidate(options)
    end
  ]]

  local function start(text)
    local prelude = ("election = '/ending/%d'\n"):format(n) .. PRELUDE
    return process.start { "lua", "-e", prelude .. text, env = { LUNARCH_ENDPOINTS = server.endpoint } }
  end

  local function exit_of(child, limit)
    local status, signal = child:wait_exit(limit)
    return { status, signal }
  end

  -- on_elected once, on_lost once and last, nothing left in etcd, and nothing else called after.
  local function ended_in_order(child, reason, expected)
    local status, signal = child:wait_exit()
    local output = child:output()
    assert.equal(1, #child:find_all "^on_elected$", output)
    local lost = child:find_all "^on_lost"
    assert.equal(2, #lost, output)
    assert.same({ "on_lost " .. reason, "on_lost returned" }, { lost[1].text, lost[2].text })
    assert.is_nil(output:find("on_lost returned\n.*do_work"), output)
    assert.is_nil(output:find "unreachable", output)
    assert.same(expected, { status, signal }, output)
    assert.equal("", server:etcdctl("get", "--prefix", "--keys-only", "/ending/" .. n))
    return output
  end

  -- ---- os.exit ----------------------------------------------------------------------------------------------------

  for where, text in pairs {
    ["on_elected"] = "make { on_elected = function() print 'on_elected' os.exit(3) print 'unreachable' end }:run()",
    ["do_work"] = "make { do_work = function() pcall(os.exit, 3) print 'unreachable' end }:run()",
    ["on_leader"] = "make { on_leader = function(l) if l.is_me then os.exit(3) print 'unreachable' end end }:run()",
    ["a spawned task"] = [[
      lunarch.run(function()
        lunarch.spawn(function() led() os.exit(3) print 'unreachable' end)
        make():run()
      end)]],
    ["a coroutine of the user's"] = [[
      make { do_work = function()
        for _ in coroutine.wrap(function() lunarch.sleep(0.01) os.exit(3) print 'unreachable' end) do end
      end }:run()]],
    ["a callback of luv's"] = [[
      local timer = uv.new_timer()
      make { on_elected = function()
        print "on_elected"
        timer:start(50, 0, function() os.exit(3) print 'unreachable' end)
      end }:run()]],
    ["a callback of luv's, under the user's own uv.run"] = [[
      lunarch.spawn(function()
        make { on_elected = function()
          print "on_elected"
          local timer = uv.new_timer()
          timer:start(50, 0, function() os.exit(3) print 'unreachable' end)
        end }:run()
      end)
      uv.run()]],
    ["the main chunk"] = [[
      lunarch.spawn(function() make():run() end)
      led()
      os.exit(3)]],
    ["a variable kept from before"] = [[
      make { do_work = function() exit(3) end }:run()]],
    ["do_work, twice"] = [[
      make { do_work = function()
        lunarch.spawn(function() os.exit(3) end)
        lunarch.sleep(0.01)
        os.exit(4)
      end }:run()]],
    ["on_lost, too late to be counted"] = [[
      make {
        do_work = function() os.exit(3) end,
        on_lost = function(_, reason)
          print("on_lost " .. reason)
          print "on_lost returned"
          os.exit(4)
        end,
      }:run()]],
  } do
    it("by os.exit in " .. where, function()
      ended_in_order(start("exit = os.exit " .. text), "exit", { 3, 0 })
    end)
  end

  it("by os.exit in on_lost ends with that status, and gives the place up", function()
    ended_in_order(start [[
      local candidate
      candidate = make {
        do_work = function() candidate:stop() end,
        on_lost = function(_, reason)
          print("on_lost " .. reason)
          lunarch.sleep(0.1)
          print "on_lost returned"
          os.exit(5)
        end,
      }
      candidate:run()
      print "unreachable"]], "stopping", { 5, 0 })
  end)

  for status, expected in pairs { ["true"] = 0, ["false"] = 1, ["7, true"] = 7, [""] = 0, ["nil, false"] = 0 } do
    it("by os.exit(" .. status .. ")", function()
      local child = start(("make { do_work = function() os.exit(%s) end }:run()"):format(status))
      ended_in_order(child, "exit", { expected, 0 })
    end)
  end

  -- What os.exit refuses ends nothing.
  it("by os.exit with what is no status goes on, and is shown the line", function()
    for _, status in ipairs { "{}", "'three'", "print" } do
      n = n + 1
      local child = start(([[make { do_work = function()
        print(pcall(os.exit, %s))
        os.exit(3)
      end }:run()]]):format(status))
      local output = ended_in_order(child, "exit", { 3, 0 })
      assert.truthy(output:find "false\t.*bad argument #1 to 'exit'", output)
    end
  end)

  -- As the examples of luv do at their end.
  it("by its main chunk, which closes all handles of luv's there are, is not aborted", function()
    local child = start [[
      lunarch.run(function() lunarch.connect():get "x" end)
      uv.walk(function(handle)
        if not handle:is_closing() then handle:close() end
      end)
      uv.run()
      lunarch.run(function() print(lunarch.connect():get "x") end)
      print "is over"]]
    assert.same({ 0, 0 }, exit_of(child), child:output())
    assert.truthy(child:find "^is over$")
  end)

  it("by os.exit in do_standby gives its place in the line up", function()
    local first = start "make():run()"
    first:wait_line "^do_work"
    local second = start "make { do_standby = function() print 'standby' os.exit(3) end }:run()"
    second:wait_line "standby"
    assert.equal(3, (second:wait_exit()))
    assert.is_nil(second:find "on_")
    local keys = server:etcdctl("get", "--prefix", "--keys-only", "/ending/" .. n)
    assert.equal(1, select(2, keys:gsub("/ending/", "")))
  end)

  it("by os.exit without a candidate that runs, at once", function()
    local child = start "make() print 'made' os.exit(6)"
    assert.equal(6, (child:wait_exit()))
  end)

  it("by os.exit has two candidates lose their terms first", function()
    local child = start [[
      local function one(name)
        return lunarch.candidate {
          election = "/ending/two/" .. name, name = name, do_work = function() print(name .. " works") end,
          on_lost = function(_, reason) lunarch.sleep(0.1) print(name .. " lost " .. reason) end,
        }
      end
      lunarch.run(function()
        lunarch.spawn(function() one "X":run() end)
        lunarch.spawn(function() one "Y":run() end)
        lunarch.sleep(0.5)
        os.exit(3)
      end)]]
    assert.equal(3, (child:wait_exit()))
    assert.truthy(child:find "X lost exit")
    assert.truthy(child:find "Y lost exit")
  end)

  it("by os.exit waits for on_lost no longer than stop_timeout", function()
    local child = start [[
      make {
        stop_timeout = 0.3, do_work = function() os.exit(3) end, on_lost = function() lunarch.sleep(100) end,
      }:run()]]
    assert.equal(3, (child:wait_exit()))
  end)

  -- ---- errors of callbacks ----------------------------------------------------------------------------------------

  for kind, begin in pairs {
    timer = "keep = uv.new_timer() keep:start(50, 0, fail)",
    async = "keep = uv.new_async(fail) keep:send()",
    ["file system"] = "uv.fs_stat('/', fail)",
    idle = "keep = uv.new_idle() keep:start(fail)",
  } do
    if kind ~= "poll" then
      it("by an error in a callback of luv's (" .. kind .. ")", function()
        local output = ended_in_order(start(([[
          local function fail() error "callback failed" end
          make { on_elected = function() print "on_elected" %s end }:run()]]):format(begin)), "error", { 255, 0 })
        assert.truthy(output:find("Uncaught Error in a callback: .*callback failed"), output)
      end)
    end
  end

  it("by os.exit in a callback that comes again and again", function()
    ended_in_order(start [[
      make { on_elected = function()
        print "on_elected"
        keep = uv.new_idle()
        keep:start(function() os.exit(3) end)
      end }:run()]], "exit", { 3, 0 })
  end)

  for what, thing in pairs {
    ["no string"] = "{}", ["nil"] = "nil",
    ["an object whose __tostring fails"] = "setmetatable({}, { __tostring = function() error 'no text' end })",
  } do
    it("by an error in a callback of luv's that is " .. what, function()
      ended_in_order(start(([[
        make { on_elected = function()
          print "on_elected"
          keep = uv.new_timer()
          keep:start(50, 0, function() error(%s) end)
        end }:run()]]):format(thing)), "error", { 255, 0 })
    end)
  end

  it("by an error in a callback of luv's under the user's own uv.run", function()
    ended_in_order(start [[
      lunarch.spawn(function()
        make { on_elected = function()
          print "on_elected"
          keep = uv.new_timer()
          keep:start(50, 0, function() error "callback failed" end)
        end }:run()
      end)
      uv.run()]], "error", { 255, 0 })
  end)

  it("by an error in a callback of luv's with no candidate that runs, as luv would", function()
    local child = start [[
      lunarch.spawn(function() lunarch.sleep(10) end)
      keep = uv.new_timer()
      keep:start(10, 0, function() error "callback failed" end)
      lunarch.sleep(10)]]
    assert.equal(255, (child:wait_exit()))
    assert.truthy(child:output():find "callback failed")
  end)

  -- ---- signals, and Ctrl-C ----------------------------------------------------------------------------------------

  local WAYS = {
    ["candidate:run in the main chunk"] = "make():run()",
    ["lunarch.run"] = "lunarch.run(function() make():run() end)",
    ["a task under lunarch.run"] = "lunarch.run(function() lunarch.spawn(function() make():run() end) end)",
  }

  for way, text in pairs(WAYS) do
    it("by Ctrl-C in " .. way .. ", while a handler runs", function()
      local busy = [[make { do_work = function()
        print "do_work"
        local till = lunarch.now() + 2
        repeat until lunarch.now() > till
      end }]]
      local child = start((text:gsub("make%(%)", function() return busy end)))
      child:wait_line "^do_work"
      child:signal "sigint"
      ended_in_order(child, "stopping", { 1, 0 })
    end)

    it("by Ctrl-C in " .. way, function()
      local child = start(text)
      child:wait_line "^do_work"
      child:signal "sigint"
      local output = ended_in_order(child, "stopping", { 1, 0 })
      assert.truthy(output:find("interrupted!", 1, true), output)
    end)

    for signal, number in pairs { sigterm = 15, sighup = 1, sigquit = 3 } do
      it("by " .. signal .. " in " .. way, function()
        local child = start(text)
        child:wait_line "^do_work"
        child:signal(signal)
        ended_in_order(child, "stopping", { 0, number })
      end)
    end
  end

  it("by SIGTERM under the user's own uv.run", function()
    local child = start "lunarch.spawn(function() make():run() end) uv.run()"
    child:wait_line "^do_work"
    child:signal "sigterm"
    ended_in_order(child, "stopping", { 0, 15 })
  end)

  it("by a second signal at once", function()
    local child = start "make { on_lost = function() print 'on_lost' lunarch.sleep(100) end }:run()"
    child:wait_line "^do_work"
    child:signal "sigterm"
    child:wait_line "^on_lost"
    require("support.wait").pass(0.1)
    child:signal "sigterm"
    assert.same({ 0, 15 }, exit_of(child, 2))
  end)

  it("does not take a signal from a program that handles it", function()
    local child = start [[
      local candidate = make()
      local signal = uv.new_signal()
      signal:start("sigterm", function() print "handled" candidate:stop "asked to" end)
      candidate:run()
      print "went on"
      signal:stop()]]
    child:wait_line "^do_work"
    child:signal "sigterm"
    child:wait_line "^handled"
    assert.same({ 0, 0 }, exit_of(child))
    assert.truthy(child:find "on_lost asked to")
    assert.truthy(child:find "went on")
  end)

  it("has its signals back once no candidate runs", function()
    local child = start [[
      local candidate
      candidate = make { do_work = function() candidate:stop() end }
      candidate:run()
      print "over"
      lunarch.sleep(100)]]
    child:wait_line "^over"
    child:signal "sigterm"
    assert.same({ 0, 15 }, exit_of(child, 2))
  end)

  it("may catch Ctrl-C around candidate:run, and go on", function()
    local child = start [[
      print(pcall(function() make():run() end))
      print "went on"]]
    child:wait_line "^do_work"
    child:signal "sigint"
    assert.same({ 0, 0 }, exit_of(child))
    assert.truthy(child:output():find "on_lost returned\n.*false\t.*interrupted!\nwent on")
  end)

  -- LuaJIT raises it in whatever runs when the signal comes: here a hook does so at a chosen place, the first time that
  -- a traceback has the text.
  for what, text in pairs(vm.is_luajit and {
    ["a task beside the handlers"] = "candidate/term.lua.*'pcall'\n[^\n]*candidate/tasks.lua",
    ["the driver's wait for the work"] = "candidate/term.lua:%d+: in function 'join'",
    ["a log of the user's"] = "line%).*'pcall'\n[^\n]*candidate/log.lua:%d+: in function",
  } or {}) do
    it("by Ctrl-C in " .. what, function()
      local child = start(([[
        jit.off()
        jit.flush()
        local function strike()
          if not debug.traceback("", 2):find(%q) then return end
          debug.sethook()
          print "struck"
          error("interrupted!", 0)
        end
        local log = {}
        for _, level in ipairs { "debug", "info", "warn", "error" } do
          log[level] = function() string.rep("x", 2) end
        end
        local n = 0
        print(pcall(function()
          make {
            log = log,
            on_elected = function() debug.sethook(strike, "cr") print "on_elected" end,
            do_work = function()
              n = n + 1
              if n > 3 then return false end
            end,
          }:run()
        end))
        print "went on"]]):format(text))
      assert.same({ 0, 0 }, exit_of(child))
      local output = child:output()
      assert.truthy(output:find "on_elected\n.*on_lost returned\n.*false\tinterrupted!.*\nwent on\n", output)
      assert.equal(1, #child:find_all "^struck", output)
    end)
  end

  -- ---- the end of the main chunk ----------------------------------------------------------------------------------

  for what, text in pairs {
    ["the end of its main chunk"] = "",
    ["an error at top level"] = "error 'top level'",
    ["os.exit(0, true)"] = "os.exit(0, true)",
  } do
    it("by " .. what, function()
      local child = start("lunarch.spawn(function() make():run() end) led() " .. text)
      ended_in_order(child, "exit", { text:find "error" and 1 or 0, 0 })
    end)
  end

  it("by the end of its main chunk waits for on_lost no longer than stop_timeout", function()
    local child = start [[
      lunarch.spawn(function()
        make { stop_timeout = 0.5, on_lost = function() print 'on_lost' lunarch.sleep(100) end }:run()
      end)
      led()]]
    assert.equal(0, (child:wait_exit()))
    assert.truthy(child:find "on_lost")
    assert.equal("", server:etcdctl("get", "--prefix", "--keys-only", "/ending/" .. n))
  end)

  -- on_lost begins some turns of the loop after the work has ended.
  it("by the end of its main chunk calls on_lost once, however far the end of the term has come", function()
    for turns = 0, 6 do
      n = n + 1
      local child = start(([[
        local is_over = false
        lunarch.spawn(function()
          make { do_work = function() is_over = true return false end, on_lost = function() print "on_lost" end }:run()
        end)
        while not is_over do lunarch.sleep(0) end
        for _ = 1, %d do lunarch.sleep(0) end]]):format(turns))
      assert.equal(0, (child:wait_exit()))
      assert.equal(1, #child:find_all "^on_lost$", turns .. " turns: " .. child:output())
      assert.equal("", server:etcdctl("get", "--prefix", "--keys-only", "/ending/" .. n))
    end
  end)

  -- The place is given up after on_lost has returned, or never.
  for what, text in pairs {
    ["the end of its main chunk"] = "lunarch.spawn(function() make(OWN):run() end) losing()",
    ["os.exit where its controller is left behind"] = [[
      local cqueues = require "cqueues"
      local cq = cqueues.new()
      cq:wrap(function() make(OWN):run() end)
      while not is_losing do cq:step(0.1) end
      os.exit(0)]],
    ["os.exit in a generator of cqueues'"] = [[
      local cqueues = require "cqueues"
      local cq = cqueues.new()
      cq:wrap(function() make(OWN):run() end)
      cq:wrap(function()
        losing(cqueues.sleep)
        coroutine.wrap(os.exit)(0)
      end)
      assert(cq:loop())]],
  } do
    it("by " .. what .. " while on_lost waits leaves the place to its lease", function()
      local child = start([[
        function losing(sleep) while not is_losing do (sleep or lunarch.sleep)(0.01) end end
        OWN = {
          do_work = function() return false end,
          on_lost = function()
            is_losing = true
            lunarch.sleep(100)
          end,
        }]] .. text)
      assert.equal(0, (child:wait_exit()))
      assert.truthy(child:find "on_lost does not go on: the place lapses with its lease", child:output())
      assert.truthy(server:etcdctl("get", "--prefix", "--keys-only", "/ending/" .. n):find "^/ending/")
    end)
  end

  -- ---- cqueues ----------------------------------------------------------------------------------------------------

  describe("under cqueues", function()
    local CQUEUES = [[
      local cqueues = require "cqueues"
      local cq = cqueues.new()
      local function begin(own) cq:wrap(function() make(own):run() end) end
    ]]

    for where, text in pairs {
      ["do_work"] = "begin { do_work = function() os.exit(3) print 'unreachable' end } assert(cq:loop())",
      ["on_elected"] = [[
        begin { on_elected = function() print "on_elected" os.exit(3) print 'unreachable' end } assert(cq:loop())]],
      ["another coroutine of the controller"] = [[
        begin() cq:wrap(function() led(cqueues.sleep) os.exit(3) print 'unreachable' end) assert(cq:loop())]],
      ["a generator"] = [[
        begin { do_work = function() coroutine.wrap(function() os.exit(3) print 'unreachable' end)() end }
        assert(cq:loop())]],
      ["the main chunk, its controller left behind"] = "begin() cq:loop(0.5) os.exit(3)",
    } do
      it("by os.exit in " .. where, function()
        ended_in_order(start(CQUEUES .. text), "exit", { 3, 0 })
      end)
    end

    it("by a signal", function()
      local child = start(CQUEUES .. "begin() assert(cq:loop())")
      child:wait_line "^do_work"
      child:signal "sigterm"
      ended_in_order(child, "stopping", { 0, 15 })
    end)

    it("by an error of another coroutine", function()
      local child = start(CQUEUES .. "begin() cq:wrap(function() led(cqueues.sleep) error 'x' end) assert(cq:loop())")
      ended_in_order(child, "exit", { 1, 0 })
    end)

    it("by the end of its main chunk", function()
      ended_in_order(start(CQUEUES .. "begin() cq:loop(0.5)"), "exit", { 0, 0 })
    end)

    -- On LuaJIT Ctrl-C is raised in whatever runs.
    if not vm.is_luajit then
      it("by Ctrl-C", function()
        local child = start(CQUEUES .. "begin() assert(cq:loop())")
        child:wait_line "^do_work"
        child:signal "sigint"
        ended_in_order(child, "exit", { 1, 0 })
      end)
    end
  end)
end)
