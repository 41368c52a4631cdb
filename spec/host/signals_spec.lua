-- limit: 180 s
-- Signals at bad moments: the first one asks, the second one ends.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local wait = require "support.wait"

describe("a signal", function()
  local server, proxy, flags
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(function()
    process.end_all()
    if proxy then proxy:stop() end
    proxy = nil
  end)

  before_each(function()
    n = n + 1
    flags = { "--endpoints", server.endpoint, "--election", "/signals/" .. n, "--name", "A", "--ttl", "600" }
  end)

  local HANDLERS = [[
    stop_timeout = 600
    function on_elected() print "on_elected" end
    function do_work() print "do_work" return 0.1 end
    function on_lost(_, reason) print("on_lost " .. reason) end
  ]]

  -- Without what the log has for information.
  local function said(child)
    return (child:output():gsub("[^\n]* INFO [^\n]*\n", ""))
  end

  local function is_clean()
    return server:etcdctl("get", "--prefix", "--keys-only", "/signals/" .. n) == ""
  end

  -- It ends, with status 0, and has nothing left in etcd. No TTL and no stop_timeout could have brought this about.
  local function ends_well(child)
    local status, signal = child:wait_exit()
    assert.same({ 0, 0 }, { status, signal })
    assert.is_true(is_clean())
  end

  for _, name in ipairs { "sigterm", "sigint" } do
    it("stops a candidate (" .. name .. ")", function()
      local child = script.start(HANDLERS, flags)
      child:wait_line "do_work"
      child:signal(name)
      ends_well(child)
      assert.truthy(child:find "^on_lost stopping")
    end)
  end

  -- An ordinary program that runs a candidate with these options.
  local function start_ordinary(options)
    local text = ('lunarch.candidate { election = "/signals/%d", name = "A", %s }:run()'):format(n, options)
    return script.start(text, { "--endpoints", server.endpoint })
  end

  -- It is told to stop, and says this before it ends.
  local function ends_after(child, line)
    child:signal "sigterm"
    child:wait_line(line)
    assert.equal(143, (child:wait_exit()))
  end

  -- All tasks of a program are interrupted, in any order.
  it("stops the candidate of an ordinary program, whatever hears of it first", function()
    for i = 1, 8 do
      local child = start_ordinary(([[
        on_elected = function() print "on_elected" end, do_work = function() return %s end,
        on_lost = function(_, reason) print("on_lost " .. reason) end]])
        :format(i % 2 == 0 and "lunarch.sleep(100)" or "100"))
      child:wait_line "^on_elected"
      wait.pass(0.05)
      ends_after(child, "^on_lost stopping$")
      assert.is_nil(child:find "failed")
      assert.is_true(is_clean())
    end
  end)

  it("is no answer of a check that it interrupts", function()
    for _ = 1, 4 do
      local child = start_ordinary [[
        health_interval = 0.5, health_timeout = 60, health_failures = 1,
        health = function()
          if is_elected then print "checks" lunarch.sleep(50) end
          return true
        end,
        on_elected = function() is_elected = true end, do_work = function() return 100 end,
        on_lost = function(_, reason) print("on_lost " .. reason) end]]
      child:wait_line "^checks"
      ends_after(child, "^on_lost stopping$")
      assert.is_nil(child:find "failed")
    end
  end)

  it("leaves on_lost its time, also where it is running already", function()
    local child = start_ordinary [[
      do_work = function() return false end,
      on_lost = function(_, reason)
        print("on_lost " .. reason)
        lunarch.sleep(1)
        print "on_lost has ended"
      end]]
    child:wait_line "^on_lost resigned$"
    ends_after(child, "^on_lost has ended$")
    assert.is_true(is_clean())
  end)

  it("while it connects ends it, though etcd is silent", function()
    proxy = require("support.proxy").start(server.client_port)
    proxy:go_silent()
    flags[2] = proxy.endpoint
    local child = script.start("log.info 'ready'\n" .. HANDLERS, flags)
    child:wait_line "ready"
    wait.pass(0.3)
    child:signal "sigterm"
    local status = child:wait_exit()
    assert.equal(0, status)
    assert.is_nil(child:find "on_")
  end)

  it("while it waits for its turn takes it out of the line", function()
    local leader = script.start(HANDLERS, flags)
    leader:wait_line "do_work"
    local child = script.start(HANDLERS .. "function on_leader(l) print('leader ' .. tostring(l.value)) end", flags)
    child:wait_line "leader A"
    wait.eventually(function()
      return select(2, server:etcdctl("get", "--prefix", "--keys-only", "/signals/" .. n):gsub("%S+", "")) == 2
    end)
    child:signal "sigterm"
    assert.equal(0, (child:wait_exit()))
    assert.is_nil(child:find "^on_")
    leader:signal "sigterm"
    ends_well(leader)
  end)

  it("in on_elected interrupts it, and on_lost follows", function()
    local child = script.start(HANDLERS .. [[
      function on_elected() print "on_elected" lunarch.sleep(100) end
    ]], flags)
    child:wait_line "on_elected"
    child:signal "sigterm"
    ends_well(child)
    assert.equal("on_elected\non_lost stopping\n", said(child))
  end)

  it("in a wait of do_work interrupts it", function()
    local child = script.start(HANDLERS .. [[
      function do_work() print "do_work" lunarch.sleep(100) end
    ]], flags)
    child:wait_line "do_work"
    child:signal "sigterm"
    ends_well(child)
    assert.equal("on_elected\ndo_work\non_lost stopping\n", said(child))
  end)

  it("while do_work is busy is obeyed as soon as it returns", function()
    local child = script.start(HANDLERS .. [[
      function do_work()
        print "do_work"
        local until_s = lunarch.now() + 0.6
        while lunarch.now() < until_s do end
        print "returned"
      end
    ]], flags)
    child:wait_line "do_work"
    child:signal "sigterm"
    ends_well(child)
    assert.equal("on_elected\ndo_work\nreturned\non_lost stopping\n", said(child))
  end)

  it("while do_work is busy and stays so is answered with what would help", function()
    local child = script.start(HANDLERS .. [[
      function do_work() print "do_work" while true do end end
    ]], flags)
    child:wait_line "do_work"
    child:signal "sigterm"
    child:wait_line "told to stop, but the script does not yield; a second signal ends it at once"
    child:signal "sigterm"
    assert.equal(143, (child:wait_exit()))
  end)

  it("that ends a command of os.execute stops the candidate too", function()
    local child = script.start(HANDLERS .. [[
      function do_work() print "do_work" os.execute "kill -INT $$" end
    ]], flags)
    ends_well(child)
    assert.equal("on_elected\ndo_work\non_lost stopping\n", said(child))
  end)

  it("in on_lost lets it finish, and gives the place up after it", function()
    local child = script.start(HANDLERS .. [[
      function do_work(term) term:resign() end
      function on_lost() print "on_lost" lunarch.sleep(0.7) print "on_lost returned" end
    ]], flags)
    child:wait_line "^on_lost$"
    child:signal "sigterm"
    ends_well(child)
    assert.truthy(child:find "on_lost returned")
    assert.equal(1, #child:find_all "^on_elected")
  end)

  it("keeps the place until on_lost has returned", function()
    local child = script.start(HANDLERS .. [[
      function on_lost() print "on_lost" lunarch.sleep(1) print "on_lost returned" end
    ]], flags)
    child:wait_line "do_work"
    child:signal "sigterm"
    child:wait_line "^on_lost$"
    assert.is_false(is_clean())
    child:wait_line "on_lost returned"
    ends_well(child)
  end)

  it("does not wait longer than stop_timeout for on_lost", function()
    local child = script.start(HANDLERS .. [[
      stop_timeout = 0.5
      function on_lost() lunarch.sleep(100) end
    ]], flags)
    child:wait_line "do_work"
    child:signal "sigterm"
    ends_well(child)
    assert.truthy(child:find "WARN  A: on_lost has not ended within 0.5 s")
  end)

  describe("the second time", function()
    -- Signals that come while the process cannot run are one to the kernel: sent until they have ended it. How many.
    local function insist(child, name)
      local n_sent = 0
      wait.eventually(function()
        if not child:is_running() then return true end
        child:signal(name)
        n_sent = n_sent + 1
        wait.pass(0.2)
      end)
      return n_sent
    end

    for name, status in pairs { sigterm = 143, sigint = 130 } do
      it("ends the process at once, even where it is busy (" .. name .. ")", function()
        local child = script.start(HANDLERS .. [[
          function do_work() print "do_work" while true do end end
        ]], flags)
        child:wait_line "do_work"
        assert.is_true(insist(child, name) >= 2)
        assert.equal(status, (child:wait_exit()))
      end)
    end

    it("says when the place lapses that it leaves behind, to people and in JSON", function()
      for _, format in ipairs { "text", "json" } do
        local child = script.start(HANDLERS .. [[
          function on_lost() print "on_lost" lunarch.sleep(100) end
        ]], { "--log", format, "--ttl", "5", table.unpack(flags, 1, 6) })
        child:wait_line "do_work"
        child:signal "sigterm"
        child:wait_line "on_lost"
        wait.pass(0.1)
        child:signal "sigterm"
        assert.equal(143, (child:wait_exit()))
        local text = child:find "second signal".text
        if format == "json" then text = require "cjson".decode(text).message end
        local left = text:match "ended at once by a second signal; the place lapses in (%d+%.%d) s$"
        assert.truthy(left, text)
        assert.truthy(tonumber(left) > 0 and tonumber(left) <= 5)
        n = n + 1
        flags[4] = "/signals/" .. n
      end
    end)

    it("is asked for where a program or a main part does not yield", function()
      for what, text in pairs {
        busy = "print 'busy' while true do end", blocked = "print 'busy' os.execute 'exec sleep 100'",
        candidate = HANDLERS .. "print 'busy' while true do end",
      } do
        local child = script.start(text, flags)
        child:wait_line "busy"
        child:signal "sigterm"
        child:wait_line "told to stop, but the script does not yield; a second signal ends it at once$"
        child:signal "sigterm"
        assert.equal(143, (child:wait_exit()), what)
      end
    end)

    it("says within what time the place lapses where the script was busy from the beginning of its term", function()
      for _, handler in ipairs { "on_elected", "do_work" } do
        n = n + 1
        flags[4] = "/signals/" .. n
        local child = script.start(HANDLERS .. ("function %s() print 'busy' while true do end end"):format(handler),
          { "--ttl", "5", table.unpack(flags, 1, 6) })
        child:wait_line "busy"
        child:signal "sigterm"
        child:wait_line "a second signal ends it at once"
        child:signal "sigterm"
        child:wait_line "ended at once by a second signal; the place lapses within 5 s$"
        assert.equal(143, (child:wait_exit()))
      end
    end)

    it("says within what time the place lapses where the script is busy", function()
      local child = script.start(HANDLERS .. [[
        local n = 0
        function do_work()
          n = n + 1
          if n < 30 then return 0.1 end
          print "busy"
          while true do end
        end
      ]], { "--ttl", "5", table.unpack(flags, 1, 6) })
      child:wait_line "busy"
      child:signal "sigterm"
      child:wait_line "a second signal ends it at once"
      child:signal "sigterm"
      child:wait_line "ended at once by a second signal; the place lapses within 5 s$"
      assert.equal(143, (child:wait_exit()))
    end)

    it("says nothing of a place where there is none", function()
      local child = script.start(HANDLERS .. "lunarch.spawn(function() while true do pcall(lunarch.sleep, 1) end end)",
        { "--endpoints", "127.0.0.1:1", "--election", "/none" })
      child:wait_line "no session with"
      child:signal "sigterm"
      wait.pass(0.2)
      child:signal "sigterm"
      child:wait_exit()
      assert.falsy(child:output():find("the place lapses", 1, true))
    end)

    it("ends it in on_lost too", function()
      local child = script.start(HANDLERS .. [[
        function on_lost() print "on_lost" lunarch.sleep(100) end
      ]], flags)
      child:wait_line "do_work"
      child:signal "sigterm"
      child:wait_line "on_lost"
      insist(child, "sigterm")
      assert.equal(143, (child:wait_exit()))
    end)

    it("within an instant counts once: timeout(1) sends two", function()
      local child = script.start(HANDLERS, flags)
      child:wait_line "do_work"
      child:signal "sigterm"
      child:signal "sigterm"
      ends_well(child)
      assert.truthy(child:find "on_lost stopping")
    end)
  end)

  it("that would end the reader's writer does not end a leader", function()
    local path = script.write(HANDLERS .. "function do_work() print 'x' log.info 'y' return 0.05 end")
    local child = process.start {
      "sh", "-c", ([[%s 2>&1 | head -n 3; sleep 1]]):format(tree.quote { tree.program, path, table.unpack(flags) }),
    }
    child:wait_line "x"
    wait.pass(0.5)
    assert.is_false(is_clean())
  end)

  for name, number in pairs { sigint = 2, sigterm = 15, sighup = 1 } do
    it("stops a candidate in a loop of cqueues' that the script runs (" .. name .. ")", function()
      local child = script.start(([[
        local cq = require "cqueues".new()
        cq:wrap(function()
          lunarch.candidate {
            election = "/signals/%d", name = "A",
            do_work = function() print "do_work" return 0.1 end,
            on_lost = function(_, reason)
              print("on_lost " .. reason)
              lunarch.sleep(0.2)
              print "on_lost has ended"
            end,
          }:run()
        end)
        assert(cq:loop())]]):format(n), { "--endpoints", server.endpoint })
      child:wait_line "^do_work"
      child:signal(name)
      child:wait_line "^on_lost stopping$"
      child:wait_line "^on_lost has ended$"
      local status, signal = child:wait_exit()
      assert.same({ 128 + number, 0 }, { status, signal })
      assert.is_true(is_clean())
      assert.is_nil(child:find "does not yield")
    end)
  end

  it("interrupts an ordinary program where it waits, and lets it clean up", function()
    local child = script.start [[
      print "ready"
      local ok, err = pcall(lunarch.sleep, 100)
      print(tostring(err))
    ]]
    child:wait_line "ready"
    child:signal "sigint"
    assert.equal(130, (child:wait_exit()))
    assert.equal("ready\ninterrupted\n", said(child))
  end)

  it("interrupts a program that only yields", function()
    for _, loop in ipairs { "lunarch.sleep(0)", "coroutine.yield()" } do
      local child = script.start("print 'ready' while true do " .. loop .. " end")
      child:wait_line "ready"
      child:signal "sigterm"
      assert.equal(143, (child:wait_exit()), loop)
    end
  end)

  it("interrupts what a program has spawned", function()
    local child = script.start [[
      lunarch.spawn(function() print "ready" lunarch.sleep(100) end)
    ]]
    child:wait_line "ready"
    child:signal "sigterm"
    assert.equal(143, (child:wait_exit()))
    assert.equal("ready\n", said(child))
  end)
end)
