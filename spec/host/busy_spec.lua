-- limit: 180 s
-- A handler that blocks the whole thread while its term ends: the log says so all the same, once, and names it.
local cjson = require "cjson"
local etcd = require "support.etcd"
local process = require "support.process"
local proxies = require "support.proxy"
local script = require "host.script"
local wait = require "support.wait"

local GOES_ON = "goes on after the end of its term %(expired%), and does not yield: %d%.%d s until the place may be "
  .. "another's"
local HELD_UP = "does not yield, so that on_lost cannot be called, though the term has ended %(expired%): "
  .. "%d%.%d s until the place may be another's"
local LAPSED = "another may lead now"

local BLOCKS = {
  ["a command"] = "os.execute 'sleep 4'",
  ["a busy loop"] = "local late = lunarch.now() + 4 while lunarch.now() < late do end",
}

describe("while a handler blocks the thread", function()
  local server, proxy
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function()
    n = n + 1
    proxy = proxies.start(server.client_port)
  end)
  after_each(function()
    process.end_all()
    proxy:stop()
  end)

  local function start(text, ...)
    return script.start(("name, ttl, stop_timeout, election = 'A', 3, 1, '/busy/%d'\n%s"):format(n, text), {
      "--endpoints", proxy.endpoint, ...,
    })
  end

  -- How often this was said in all, by Lua or by the thread.
  local function count(child, pattern) return #child:find_all(pattern) end

  -- Until it has been lost: what was said of that, once each, in order; the first by this handler.
  local function says_both(child, first, last)
    local goes_on = child:wait_line(first)
    local lapsed = child:wait_line(last)
    assert.truthy(goes_on.text:find(" WARN ", 1, true), goes_on.text)
    assert.truthy(lapsed.text:find(" ERROR ", 1, true), lapsed.text)
    return goes_on, lapsed
  end

  local function each_once(child)
    assert.equal(1, count(child, "until the place may be another's"))
    assert.equal(1, count(child, LAPSED))
  end

  for what, block in pairs(BLOCKS) do
    it("is told at both instants that do_work goes on, and not again afterwards: " .. what, function()
      local child = start(([[
        function do_work() print "blocks" %s print "returned" end
        function on_lost(_, reason) print("on_lost " .. reason) end]]):format(block))
      child:wait_line "^blocks"
      proxy:go_silent()
      local _, lapsed = says_both(child, "A: do_work " .. GOES_ON,
        "A: do_work still goes on, and does not yield: " .. LAPSED)
      local returned = child:wait_line "^returned"
      assert.truthy(lapsed.t < returned.t)
      child:wait_line "^on_lost expired"
      wait.pass(0.5)
      each_once(child)
    end)
  end

  it("names on_elected, and on_lost", function()
    for _, name in ipairs { "on_elected", "on_lost" } do
      n = n + 1
      local child = start(([[
        function on_elected() end
        function on_lost() end
        function do_work() print "works" return 0.05 end
        function %s() print "blocks" os.execute "sleep 4" end]]):format(name))
      child:wait_line(name == "on_lost" and "^works" or "^blocks")
      proxy:go_silent()
      child:wait_line(name .. " " .. GOES_ON)
      child:wait_line(name .. " still goes on, and does not yield: " .. LAPSED)
      each_once(child)
      child:kill9()
      proxy:heal()
    end
  end)

  for what, case in pairs {
    ["on_leader"] = { [[function on_leader(leader)
      if leader.is_me then print "blocks" os.execute "sleep 4" end
    end]], "A: on_leader " },
    ["a task"] = { [[function on_elected() lunarch.spawn(function()
      lunarch.sleep(0.2) print "blocks" os.execute "sleep 4" end) end]], "A: a task or a callback of the script " },
    ["a callback"] = { [[function on_elected()
      local timer = require "luv".new_timer()
      timer:start(200, 0, function() print "blocks" os.execute "sleep 4" end)
    end]], "A: a task or a callback of the script " },
  } do
    it("accuses what blocks, and not the do_work that waits: " .. what, function()
      local child = start(case[1] .. "\nfunction do_work() lunarch.sleep(100) end")
      child:wait_line "^blocks"
      proxy:go_silent()
      says_both(child, case[2] .. HELD_UP, case[2] .. "still does not yield, and on_lost was not called: " .. LAPSED)
      each_once(child)
    end)
  end

  it("accuses the handler of another candidate by its name", function()
    local child = start [[
      candidate { name = "B", election = "/busy/b", do_work = function()
        lunarch.sleep(0.3)
        print "blocks"
        os.execute "sleep 4"
      end }
      candidate { name = "C", election = "/busy/c", do_work = function() lunarch.sleep(100) end }
    ]]
    child:wait_line "^blocks"
    proxy:go_silent()
    child:wait_line("B: do_work " .. GOES_ON)
    child:wait_line("B: do_work still goes on, and does not yield: " .. LAPSED)
    assert.equal(1, count(child, "C: do_work of B " .. HELD_UP))
  end)

  it("is told once more of the next term", function()
    local child = start [[function do_work() print "blocks" os.execute "sleep 4" return 0.01 end]]
    for i = 1, 2 do
      child:wait_line "^blocks"
      proxy:go_silent()
      child:wait_line("do_work " .. GOES_ON)
      child:wait_line(LAPSED)
      assert.equal(i, count(child, LAPSED))
      proxy:heal()
    end
  end)

  it("as JSON, too", function()
    local child = start([[function do_work() print "blocks" os.execute "sleep 4" end]], "--log", "json")
    child:wait_line "^blocks"
    proxy:go_silent()
    local goes_on = cjson.decode(child:wait_line("do_work " .. GOES_ON).text)
    local lapsed = cjson.decode(child:wait_line(LAPSED).text)
    assert.same({ "warn", "A" }, { goes_on.level, goes_on.candidate })
    assert.same({ "error", "A" }, { lapsed.level, lapsed.candidate })
  end)

  it("is told at once after a process was stopped for longer than its TTL", function()
    local child = start [[function do_work() print "blocks" os.execute "sleep 30" end]]
    child:wait_line "^blocks"
    child:freeze()
    wait.pass(4)
    child:thaw()
    child:wait_line("A: do_work still goes on, and does not yield: " .. LAPSED)
    assert.equal(0, count(child, "until the place may be another's"))
    assert.equal(1, count(child, LAPSED))
  end)

  it("is told nothing where etcd goes on answering", function()
    local child = start [[function do_work() print "blocks" os.execute "sleep 5" print "returned" end]]
    child:wait_line "^returned"
    assert.equal(0, count(child, "another"))
  end)

  it("and where a handler yields it is Lua that says it, once", function()
    local child = start [[function do_work() print "works" while true do pcall(lunarch.sleep, 0.05) end end]]
    child:wait_line "^works"
    proxy:go_silent()
    child:wait_line "do_work goes on after the end of its term %(expired%): %d%.%d s until"
    wait.pass(2)
    assert.equal(0, count(child, "does not yield"))
    assert.equal(1, count(child, "until the place may be another's"))
  end)

  it("nothing is said of it where there is no limit", function()
    local child = start([[
      local host = require "lunarch.host"
      host.unwatch()
      assert(host.watch(0, "silent", "ignored", "ended", false))
      os.execute "sleep 0.3"
      function on_elected() print "on_elected" end
    ]])
    child:wait_line "^on_elected"
    assert.is_nil(child:find "silent")
    child:signal "sigterm"
    assert.equal(0, (child:wait_exit()))
  end)
end)
