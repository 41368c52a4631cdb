-- A handler that never calls lunarch, and yields or waits in nginx's own calls, ends with its term all the same: it is
-- interrupted where it yields, or its timer is ended. Nothing of it goes on after on_lost, and the worker can leave.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local tree = require "support.tree"
local wait = require "support.wait"

local NOTE = [[
  lua_shared_dict lunarch 1m;
  init_worker_by_lua_block {
    lunarch = require "lunarch"
    function note(what)
      local file = io.open(os.getenv "JOURNAL", "a")
      file:write(what, "\n")
      file:close()
    end
]]

local SHARED = NOTE .. [[
    local kinds = {
      yields = function() while true do coroutine.yield() end end,
      ["yields and catches"] = function() while true do pcall(coroutine.yield) end end,
      ["yields in a light thread"] = function()
        ngx.thread.wait(ngx.thread.spawn(function() while true do coroutine.yield() end end))
      end,
      ["yields in a coroutine"] = function()
        local generate = coroutine.wrap(function() while true do coroutine.yield() end end)
        while true do generate() end
      end,
      ["sleeps in turns"] = function(at_it) while true do at_it() ngx.sleep(0.02) end end,
      ["sleeps for long"] = function() ngx.sleep(3600) end,
      ["sleeps in a light thread"] = function(at_it)
        ngx.thread.wait(ngx.thread.spawn(function() while true do at_it() ngx.sleep(0.02) end end))
      end,
    }
    for kind, stubborn in pairs(kinds) do
      local function say(format, ...) note((kind .. ": " .. format):format(...)) end
      local handlers = {
        do_work = function() return 0.01 end,
        on_lost = function(_, reason) say("lost %s", reason) end,
      }
      local usual = handlers.on_lost
      function handlers.HANDLER(...)
        if "HANDLER" == "on_lost" then usual(...) end
        stubborn(function() say "at it" end)
      end
      handlers.on_elected = function(term) say "elected" end
      handlers.election, handlers.ttl, handlers.endpoints = "/stubborn/" .. kind, 5, os.getenv "ENDPOINT"
      handlers.stop_timeout = 1
      lunarch.singleton(handlers)
    end
  }
]]

local KINDS = {
  "yields", "yields and catches", "yields in a light thread", "yields in a coroutine", "sleeps in turns",
  "sleeps for long", "sleeps in a light thread",
}

describe("in nginx a handler that never calls lunarch", function()
  local client, server, web, journal

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  local function start(handler)
    journal = tree.folder() .. "/journal"
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint, JOURNAL = journal }, http = SHARED:gsub("HANDLER", handler),
    }
  end

  local function count(what)
    local _, n = ("\n" .. tree.read(journal)):gsub("\n" .. what .. "\n", "\n\n")
    return n
  end

  local function await_each(what, n)
    for _, kind in ipairs(KINDS) do
      wait.eventually(function() return count(kind .. ": " .. what) >= n end, nil, kind .. ": " .. what)
    end
  end

  local function lose_all(handler)
    start(handler)
    await_each("elected", 1)
    for _, leader in ipairs(client:get("/stubborn/", { prefix = true })) do
      client:delete(leader.key)
    end
    await_each("lost key_deleted", 1)
    await_each("elected", 2)
    assert.equal(200, (web:get "/ready"))
  end

  it("ends with its term: do_work", function()
    lose_all "do_work"
    web:quit()
    await_each("lost the worker leaves", 1)
    for _, kind in ipairs(KINDS) do
      local after = tree.read(journal):match(".*\n" .. kind .. ": lost the worker leaves\n(.*)")
      assert.is_nil(after:find(kind .. ": at it", 1, true), kind)
    end
  end)

  it("ends with its term: on_lost", function()
    lose_all "on_lost"
    web:quit()
    await_each("lost the worker leaves", 1)
  end)

  it("leaves no light thread that outlives its term, and the worker can leave", function()
    journal = tree.folder() .. "/journal"
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint, JOURNAL = journal },
      server = "location = /stop { content_by_lua_block { job:stop() } }",
      http = NOTE .. [[
        local function go_on(what)
          ngx.thread.spawn(function() while true do note(what) ngx.sleep(0.02) end end)
        end
        job = lunarch.singleton {
          election = "/stubborn/left", ttl = 60, endpoints = os.getenv "ENDPOINT", interval = 0.1,
          on_elected = function() go_on "elected goes on" end,
          do_work = function() go_on "work goes on" end,
          on_lost = function() note "lost" end,
        }
      }]],
    }
    wait.eventually(function() return count "elected goes on" > 5 and count "work goes on" > 5 end)
    web:get "/stop"
    wait.eventually(function() return count "lost" == 1 end)
    web:quit()
    assert.is_nil(tree.read(journal):match("\nlost\n(.*)"):find "goes on")
  end)

  it("ends with its candidate, and is not called again: on_leader", function()
    journal = tree.folder() .. "/journal"
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint, JOURNAL = journal },
      http = NOTE .. [[
        lunarch.singleton {
          election = "/stubborn/on_leader", ttl = 60, endpoints = os.getenv "ENDPOINT", do_work = function() end,
          on_leader = function() note "at it" ngx.sleep(3600) end,
        }
      }]],
    }
    wait.eventually(function() return count "at it" == 1 end)
    web:quit()
    assert.equal(1, count "at it")
  end)

  -- nginx runs it in the coroutine of the timer that has ended.
  it("does not harm a request that the leaving worker still answers", function()
    journal = tree.folder() .. "/journal"
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint, JOURNAL = journal },
      server = [[
        location = /last { content_by_lua_block {
          note "asked"
          local before
          repeat
            before = n_caught
            ngx.sleep(1)
          until n_caught > 10 and n_caught == before
          ngx.print(ngx.location.capture("/below").body)
        } }
        location = /below { content_by_lua_block {
          local sum = 0
          for i = 1, 10 do sum = sum + i end
          ngx.print(sum)
        } } ]],
      http = NOTE .. [[
        n_caught = 0
        ngx.timer.at(0, function()
          while true do
            if not pcall(lunarch.sleep, 3600) then n_caught = n_caught + 1 end
          end
        end)
      }]],
    }
    local request = web:open "/last"
    wait.eventually(function() return count "asked" == 1 end)
    local old = web:reload()
    assert.same({ 200, "55" }, { request:wait() })
    nginx.wait_gone(old)
  end)

  it("is interrupted where it yields: a task", function()
    web = nginx.start {
      workers = 1, http = [[ init_worker_by_lua_block { lunarch = require "lunarch" } ]],
      server = [[ location = /task { content_by_lua_block {
        local task = lunarch.spawn(function() while true do coroutine.yield() end end)
        lunarch.sleep(0.05)
        task:interrupt "enough"
        ngx.print(select(3, task:join(30)), " ")
        local sleeper = lunarch.spawn(function() ngx.sleep(3600) end)
        lunarch.sleep(0.05)
        sleeper:abandon()
        ngx.print(tostring(sleeper:join(30)))
      } } ]],
    }
    assert.same({ 200, "enough true" }, { web:get "/task" })
    web:quit()
  end)
end)
