-- A task is known by what the user's code cannot change, and one whose light thread ends without a word is noticed: it
-- has failed, its term ends in order, and nothing waits for it for ever.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local process = require "support.process"
local tree = require "support.tree"
local wait = require "support.wait"

local SHARED = [[
  lua_shared_dict lunarch 1m;
  init_worker_by_lua_block {
    lunarch = require "lunarch"
    client = assert(lunarch.connect { endpoints = os.getenv "ENDPOINT" })
    function note(what)
      local file = io.open(os.getenv "JOURNAL", "a")
      file:write(("%.6f %s\n"):format(lunarch.now(), what))
      file:close()
    end
    local handlers = {
      on_elected = function(term) note("elected " .. term.token) end,
      do_work = function() note "work" return 0.01 end,
      on_lost = function(_, reason) note("lost " .. reason) end,
    }
    HANDLERS
    handlers.election, handlers.ttl, handlers.endpoints = "/death", TTL, os.getenv "ENDPOINT"
    handlers.stop_timeout = 1
    singleton = lunarch.singleton(handlers)
  }
]]

local SERVER = [[
  location = /join { content_by_lua_block {
    local end_it = assert(loadstring(ngx.unescape_uri(ngx.var.arg_code)))
    local task = assert(lunarch.spawn(end_it))
    ngx.say(tostring(task:join(30)), " ", select(2, task:join()), " ", tostring(task))
  } }
]]

describe("in nginx", function()
  local client, server, web, journal

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)
  before_each(function() journal = tree.folder() .. "/journal" end)

  -- Handlers are put in by name, `words` into them.
  local function start(handlers, changes, words)
    for word, text in pairs(words or {}) do
      handlers = handlers:gsub(word, text)
    end
    local options = {
      workers = 1, env = { ENDPOINT = server.endpoint, JOURNAL = journal }, server = SERVER,
      http = SHARED:gsub("HANDLERS", handlers):gsub("TTL", "10"),
    }
    for name, value in pairs(changes or {}) do
      options[name] = value
    end
    web = nginx.start(options)
  end

  local function count(what)
    local _, n = tree.read(journal):gsub(" " .. what, "")
    return n
  end

  local function await(what, n)
    wait.eventually(function() return count(what) >= (n or 1) end, nil, ("%d x %s"):format(n or 1, what))
  end

  -- ---- known all the same -----------------------------------------------------------------------------------------

  local DISGUISES = {
    ["ngx.ctx = {}"] = "ngx.ctx = {}",
    ["a light thread of its own"] = "ngx.ctx = {} ngx.thread.wait(ngx.thread.spawn(wait))",
    ["a coroutine of its own"] = "ngx.ctx = {} coroutine.wrap(wait)()",
    ["a coroutine in a light thread"] = "ngx.thread.wait(ngx.thread.spawn(function() coroutine.wrap(wait)() end))",
  }
  for name, code in pairs(DISGUISES) do
    it("do_work is interrupted when its term is over, whatever it has done to be known no more: " .. name, function()
      start([[
        handlers.do_work = function()
          local function wait()
            note "work"
            local ok, err = pcall(function() while true do lunarch.sleep(0.01) end end)
            note("over " .. tostring(type(err) == "table" and err.code))
            error(err, 0)
          end
          CODE
          wait()
        end
      ]], nil, { CODE = code })
      await "work"
      local leader = client:get("/death", { prefix = true })[1]
      client:delete(leader.key)
      await "lost key_deleted"
      assert.is_true(count "over lost" > 0)
      await("elected", 2)
    end)
  end

  it("a task that is interrupted hears of it although it has emptied ngx.ctx", function()
    start("", { server = [[
      location = /interrupt { content_by_lua_block {
        local task = lunarch.spawn(function()
          ngx.ctx = {}
          lunarch.sleep(100)
        end)
        lunarch.sleep(0.05)
        task:interrupt "enough"
        ngx.print(select(3, task:join(10)))
      } }
      location = /reused { content_by_lua_block {
        for i = 1, 50 do
          local task = lunarch.spawn(function() ngx.exit(0) end)
          task:join(10)
          local done = require("ngx.semaphore").new()
          ngx.timer.at(0, function()
            is_known = is_known or require("lunarch.loop.nginx").current() ~= nil
            done:post()
          end)
          done:wait(10)
        end
        ngx.print(tostring(is_known))
      } }
    ]] })
    assert.same({ 200, "enough" }, { web:get "/interrupt" })
    -- nginx uses the address of a request that has ended for the next.
    assert.same({ 200, "false" }, { web:get "/reused" })
  end)

  -- ---- dead -------------------------------------------------------------------------------------------------------

  local DEATHS = {
    ["ngx.exit(ngx.OK)"] = "return ngx.exit(ngx.OK)",
    ["ngx.exit(500)"] = "return ngx.exit(500)",
    ["ngx.exit in a light thread"] = "ngx.thread.wait(ngx.thread.spawn(function() ngx.exit(0) end))",
    ["ngx.exit after a wait"] = "lunarch.sleep(0.01) ngx.exit(0)",
    ["ngx.exit while it waits"] = "ngx.thread.spawn(function() ngx.sleep(0.01) ngx.exit(0) end) lunarch.sleep(100)",
    ["ngx.exit in a coroutine"] = "coroutine.wrap(function() ngx.exit(0) end)()",
    ["ngx.exec"] = "ngx.exec '/'",
    ["ngx.redirect"] = "ngx.redirect '/'",
    ["ngx.eof"] = "ngx.eof()",
    ["error(nil)"] = "error(nil)",
    ["error(false)"] = "error(false)",
    ["error({})"] = "error {}",
    ["an error object without a text"] = "error(setmetatable({}, { __tostring = function() end }))",
    ["an error object that fails"] = "error(setmetatable({}, { __tostring = function() error 'again' end }))",
  }

  for name, code in pairs(DEATHS) do
    it("a task that ends by " .. name .. " has failed, and whoever joins it is told why", function()
      start ""
      local escaped = code:gsub("%W", function(c) return ("%%%02x"):format(c:byte()) end)
      local status, answer = web:get("/join?code=" .. escaped)
      assert.equal(200, status, web:log())
      assert.matches("^false .*%(failed%)\n$", answer)
      if code:find "ngx.exit" then assert.matches("ended without returning: ngx.exit", answer) end
    end)
  end

  for _, handler in ipairs { "on_elected", "do_work", "on_lost", "on_leader" } do
    it("a light thread that ends in " .. handler .. " is told in the log, and the term ends in order", function()
      start([[
        local was = handlers.HANDLER
        handlers.HANDLER = function(...)
          if was then was(...) end
          return ngx.exit(ngx.OK)
        end
      ]], nil, { HANDLER = handler })
      if handler == "on_lost" then
        await "work"
        client:delete(client:get("/death", { prefix = true })[1].key)
      end
      local complaint = handler .. " failed: its light thread ended without returning"
      wait.eventually(function() return #web:lines(complaint) > 0 end)
      if handler == "on_leader" then
        await("work", 5)
      else
        await(handler == "on_lost" and "lost key_deleted" or "lost error")
        await("elected", 2)
      end
      web:quit()
      assert.equal(0, #client:get("/death", { prefix = true }))
    end)
  end

  local EXITS = { itself = "os.exit(3)", ["a light thread"] = "ngx.thread.spawn(function() os.exit(3) end)" }
  for where, code in pairs(EXITS) do
    it("os.exit in a handler, by " .. where .. ", ends its term in order and not the worker", function()
      start("handlers.do_work = function() note 'work' CODE error 'not here' end", nil, { CODE = code })
      local pids = web:workers()
      await "lost error"
      assert.same(pids, web:workers())
      if where == "itself" then
        assert.is_true(#web:lines "do_work failed: .*os.exit would end this worker of nginx" > 0)
      end
    end)
  end

  it("a log function that calls ngx.exit ends a term, on_lost included, and the singleton stands again", function()
    start [[
      local function quiet() end
      handlers.log = { info = quiet, warn = quiet, error = function(format, name)
        if has_exited then return end
        has_exited = true
        ngx.exit(ngx.OK)
      end }
      handlers.do_work = function() note "work" if not has_exited then error "on purpose" end return 0.01 end
    ]]
    await "lost error"
    await("elected", 2)
    await("work", 5)
    assert.equal(1, #web:lines "the timer that all of lunarch runs in was ended")
    web:quit()
    assert.equal(0, #client:get("/death", { prefix = true }))
  end)

  it("a light thread that is killed in a wait is given up, and its worker leaves", function()
    start([[
      function await_line(n)
        repeat ngx.sleep(0.01) until #client:get("/death/killed", { prefix = true }) == n
      end
    ]], { server = [[
      location = /kill { content_by_lua_block {
        session = session or assert(client:session { ttl = 60 }, 10)
        holder = holder or session:mutex "/death/killed"
        if not holder.token then holder:lock(10) end
        for i = 1, 5 do
          local thread = ngx.thread.spawn(function() session:mutex("/death/killed"):lock() end)
          ngx.sleep(0.05)
          ngx.thread.kill(thread)
          thread = nil
          collectgarbage() collectgarbage()
        end
        ngx.print "killed"
      } }
      location = /leave-access {
        access_by_lua_block {
          ngx.thread.spawn(function() session:mutex("/death/killed"):lock() end)
          await_line(2)
          ngx.exit(ngx.OK)
        }
        content_by_lua_block { collectgarbage() collectgarbage() await_line(1) ngx.print "left" }
      }
    ]] })
    assert.same({ 200, "killed" }, { web:get "/kill" })
    wait.eventually(function() return #client:get("/death/killed", { prefix = true }) == 1 end)
    assert.same({ 200, "left" }, { web:get "/leave-access" })
    web:quit()
    assert.same({}, web:lines "%[error%]")
  end)

  it("a client that is closed by two at once is closed for both", function()
    start("", { server = [[
      location = /close { content_by_lua_block {
        local own = assert(lunarch.connect { endpoints = os.getenv "ENDPOINT" })
        assert(own:session { ttl = 60 })
        local threads = {}
        for i = 1, 2 do threads[i] = ngx.thread.spawn(own.close, own, 10) end
        for i = 1, 2 do ngx.print(tostring(select(2, ngx.thread.wait(threads[i]))), " ") end
      } }
    ]] })
    assert.same({ 200, "true true " }, { web:get "/close" })
  end)

  it("a request that goes away in any kind of wait leaves nothing, and the worker quits", function()
    local kinds = {
      sleep = "lunarch.sleep(100)", observe = "client:observe('/death/o'):next()",
      lock = "holder = session:mutex('/death/k') holder:lock() session:mutex('/death/k'):lock()",
      campaign = "term = session:election('/death/c'):campaign('x') session:election('/death/c'):campaign('y')",
      watch = "client:watch('/death/w'):next()",
      loss = "local m = session:mutex('/death/own') m:lock() m:await_loss()",
      state = "session:await('alive')", join = "lunarch.spawn(lunarch.sleep, 100):join()",
    }
    local locations = {}
    for name, code in pairs(kinds) do
      locations[#locations + 1] = ("location = /%s { content_by_lua_block { session = session or "
        .. "assert(client:session { ttl = 60 }) ngx.log(ngx.WARN, 'now it waits') %s } }"):format(name, code)
    end
    start("", { http = "lua_check_client_abort on;" .. SHARED:gsub("HANDLERS", ""):gsub("TTL", "10"),
      server = table.concat(locations, "\n") })
    local n_waits = 0
    for name in pairs(kinds) do
      local request = web:open("/" .. name)
      n_waits = n_waits + 1
      wait.eventually(function() return #web:lines "now it waits" == n_waits end)
      wait.pass(0.05)
      request:close()
    end
    wait.eventually(function() return #client:get("/death/k/", { prefix = true }) == 1 end)
    web:quit()
    assert.same({}, web:lines "%[error%]")
  end)

  it("worker_shutdown_timeout ends a worker that leaves, without an error of ours", function()
    start("", {
      main = "worker_shutdown_timeout 1s;",
      server = [[ location = /long { content_by_lua_block {
        session = assert(client:session { ttl = 60 })
        holder = session:mutex "/death/shutdown"
        holder:lock()
        session:mutex("/death/shutdown"):lock()
      } } ]],
    })
    await "work"
    web:open "/long"
    wait.eventually(function() return #client:get("/death/shutdown", { prefix = true }) == 2 end)
    local old = web:reload()
    nginx.wait_gone(old)
    assert.same({}, web:lines "%[error%]")
    wait.eventually(function() return #client:get("/death/shutdown", { prefix = true }) == 0 end)
    for _, pid in ipairs(old) do
      assert.is_false(process.is_running(pid))
    end
  end)
end)
