-- How calls wait inside nginx: in every phase that may, without holding up the worker, and with a clear word elsewhere.
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local nginx = require "support.nginx"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local N_WAITING = 500

-- What the specs below rely on in the worker: `client`, and `session()`, opened once.
local SHARED = [[
  lua_shared_dict counters 1m;
  init_worker_by_lua_block {
    lunarch = require "lunarch"
    client = assert(lunarch.connect { endpoints = os.getenv "ENDPOINT" })
    local own, is_opening
    function session()
      while is_opening do ngx.sleep(0.001) end
      if not own then
        is_opening = true
        own = assert(client:session { ttl = 60 })
        is_opening = false
      end
      return own
    end
  }
]]

describe("a wait inside nginx", function()
  local client, server, web

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  local function start(options)
    options.env = { ENDPOINT = server.endpoint }
    options.http = (options.shared or SHARED) .. (options.http or "")
    web = nginx.start(options)
  end

  local function count(prefix)
    local _, found = client:get(prefix, { prefix = true, count_only = true })
    return found.count
  end

  it("holds up its own request alone", function()
    local holder = fixture.locked "/wait/alone"
    start {
      workers = 1,
      server = [[
        location = /lock { content_by_lua_block {
          local mutex = session():mutex "/wait/alone"
          assert(mutex:lock(60))
          ngx.print(mutex.token)
          mutex:unlock()
        } }
        location = /campaign { content_by_lua_block {
          local term = assert(session():election("/wait/election"):campaign("nginx", 60))
          ngx.print(term.election:leader().value)
          term:resign()
        } }
        location = /observe { content_by_lua_block {
          for leader in client:observe "/wait/election" do
            if leader.value then
              ngx.print(leader.value)
              break
            end
          end
        } }
        location = /store { content_by_lua_block {
          assert(client:put("/wait/k", "v"))
          ngx.print((client:get "/wait/k"))
        } }
      ]],
    }
    local locking, observing = web:open "/lock", web:open "/observe"
    wait.eventually(function() return count "/wait/alone/" == 2 end)
    assert.same({ 200, "v" }, { web:get "/store" })
    wait.eventually(function()
      assert.same({ 200, "nginx" }, { web:get "/campaign" })
      return observing:is_over()
    end)
    assert.same({ 200, "nginx" }, { observing:wait() })
    assert.is_false(locking:is_over())
    local token = holder.token
    holder:unlock()
    local status, body = locking:wait()
    assert.equal(200, status)
    assert.is_true(tonumber(body) > token)
  end)

  it("is possible in rewrite, access, content and timers, and answers as everywhere", function()
    local holder = fixture.locked "/wait/phases"
    local try = [[
      local ok, message, code = session():mutex("/wait/phases"):lock(0.05)
      ngx.ctx.codes = (ngx.ctx.codes or "") .. ngx.get_phase() .. " " .. tostring(code) .. "\n"
    ]]
    start {
      server = ([[
        location = /phases {
          rewrite_by_lua_block { TRY }
          access_by_lua_block { TRY }
          content_by_lua_block {
            TRY
            local timer = lunarch.spawn(function()
              TRY
              return ngx.ctx.codes
            end)
            local ok, codes = timer:join(60)
            ngx.print(ngx.ctx.codes, codes)
          }
        } ]]):gsub("TRY", try),
    }
    local status, body = web:get "/phases"
    assert.equal(200, status, web:log())
    assert.equal("rewrite timeout\naccess timeout\ncontent timeout\ntimer timeout\n", body)
    holder:unlock()
  end)

  it("is refused by name in phases where nginx lets nobody wait", function()
    start {
      shared = SHARED:gsub("local own,", [[
        init_error = select(2, pcall(client.get, client, "/k"))
        local own,]], 1),
      server = [[
        location = /init_worker { content_by_lua_block { ngx.print(init_error) } }
        location = /filters {
          set_by_lua_block $unused { errors = { select(2, pcall(client.get, client, "/k")) } return "" }
          content_by_lua_block { ngx.print "x" }
          header_filter_by_lua_block { errors[2] = select(2, pcall(lunarch.sleep, 1)) }
          body_filter_by_lua_block { errors[3] = select(2, pcall(client.put, client, "/k", "v")) }
          log_by_lua_block { errors[4] = select(2, pcall(client.session, client)) }
        }
        location = /errors { content_by_lua_block { ngx.print(table.concat(errors, "\n")) } }
      ]],
      workers = 1,
    }
    local function refusal(phase)
      return "nothing can wait in " .. phase .. "_by_lua%*: nginx does not allow it; start a timer that does"
    end
    assert.matches(refusal "init_worker", select(2, web:get "/init_worker"))
    web:get "/filters"
    local _, errors = web:get "/errors"
    local phases, i = { "set", "header_filter", "body_filter", "log" }, 0
    for line in errors:gmatch "[^\n]+" do
      i = i + 1
      assert.matches(refusal(phases[i]), line)
    end
    assert.equal(4, i)
  end)

  it("is refused at the user's line inside a function that C calls; nothing is left, and the worker quits", function()
    start {
      workers = 1,
      server = [[
        location = /across { content_by_lua_block {
          local client = assert(lunarch.connect { endpoints = os.getenv "ENDPOINT" })
          local session = assert(client:session { ttl = 60 })
          local mutex = session:mutex "/wait/across"
          assert(mutex:lock(20))
          package.preload.loaded_late = function() client:get "/k" end
          local task = lunarch.spawn(lunarch.sleep, 30)
          local calls = {
            function() return (("x"):gsub("x", function() client:get "/k" end)) end,
            function() table.sort({ 2, 1, 3 }, function() lunarch.sleep(0.01) end) end,
            function()
              package.loaded.loaded_late = nil
              require "loaded_late"
            end,
            function() string.gsub("x", "x", function() session:mutex("/wait/across"):lock(10) end) end,
            function() return (("x"):gsub("x", function() task:join(10) end)) end,
            function() return (("x"):gsub("x", function() session:election("/wait/e"):campaign "x" end)) end,
            function() return (("x"):gsub("x", function() client:session { ttl = 60 } end)) end,
          }
          for _, call in ipairs(calls) do
            for _ = 1, 5 do
              local ok, err = pcall(call)
              local expected = "content_by_lua.-:%d+: nothing can wait inside a function that C calls"
              if ok or not tostring(err):find(expected) then
                ngx.say(tostring(ok), " ", tostring(err))
              end
            end
          end
          -- A release begins there, and what Lua itself calls can wait.
          local _ = ("x"):gsub("x", function() mutex:unlock() end)
          local meta = setmetatable({}, { __index = function(_, key) return (client:get(key)) == nil end })
          ngx.say("index ", tostring(meta["/k"]))
          local iterate = function(_, i) if i < 3 then lunarch.sleep(0.001) return i + 1 end end
          local n = 0
          for _ in iterate, nil, 0 do n = n + 1 end
          ngx.say("iterator ", n)
          task:interrupt "enough"
        } }
      ]],
    }
    assert.same({ 200, "index true\niterator 3\n" }, { web:get "/across" }, web:log())
    wait.eventually(function() return count "/wait/across/" == 0 end)
    web:quit()
    assert.same({}, web:lines "%[error%]")
  end)

  it("is not what a release needs: in log_by_lua it begins, and goes on by itself", function()
    start {
      server = [[
        location = /kept {
          access_by_lua_block {
            ngx.ctx.mutex = session():mutex "/wait/kept"
            assert(ngx.ctx.mutex:lock(60))
          }
          content_by_lua_block { ngx.print(ngx.ctx.mutex.token) }
          log_by_lua_block { assert(ngx.ctx.mutex:unlock()) }
        }
      ]],
    }
    for _ = 1, 3 do
      assert.equal(200, (web:get "/kept"))
    end
    wait.eventually(function() return count "/wait/kept/" == 0 end)
  end)

  it("refuses a client in init_by_lua, before nginx forks, with a word that says what to do", function()
    start {
      shared = [[ init_by_lua_block {
        require "lunarch"
        require("lunarch").connect()
      } ]],
      is_expected_to_fail = true,
    }
    wait.eventually(function() return not web:is_running() end)
    assert.matches("lunarch.connect: a client opened in init_by_lua%* would not survive", web:output())
    assert.matches("open it in init_worker_by_lua%*", web:output())
  end)

  it("is refused in init_by_lua, with a word that says where it can be", function()
    start {
      shared = [[ init_by_lua_block { refusal = select(2, pcall(require("lunarch").sleep, 1)) } ]],
      server = "location = /refusal { content_by_lua_block { ngx.print(refusal) } }",
    }
    assert.matches("nothing can wait in init_by_lua.* in a timer that init_worker_by_lua%* starts",
      (select(2, web:get "/refusal")))
  end)

  it("ends all the same where no socket can be had to be woken by, and the log says so", function()
    start {
      shared = SHARED:gsub("client = ", [[
        require("lunarch.core").bell = function() return nil, "none today" end
        client = ]], 1),
      server = [[ location = /get { content_by_lua_block {
        assert(client:put("/wait/poll", "v"))
        ngx.print((client:get "/wait/poll"))
      } } ]],
    }
    assert.same({ 200, "v" }, { web:get "/get" })
    assert.is_true(#web:lines "no socket to be woken by, looking every 5 ms instead: none today" > 0)
    local old = web:reload()
    nginx.wait_gone(old)
  end)

  it("ends although nginx had no room for the timer that is to wake it", function()
    start {
      shared = "lua_max_running_timers 1;" .. SHARED:gsub("init_worker_by_lua_block {", [[%0
        ngx.timer.at(0, function() ngx.sleep(1.5) end)
      ]], 1),
      server = [[ location = /get { content_by_lua_block {
        assert(client:put("/wait/room", "v"))
        ngx.print((client:get "/wait/room"))
      } } ]],
    }
    assert.same({ 200, "v" }, { web:get "/get" })
    assert.is_true(#web:lines "lua_max_running_timers are not enough" > 0)
  end)

  it("ends although nginx had no room for the timer of a task, or of a handler", function()
    start {
      workers = 1,
      shared = "lua_max_running_timers 4;" .. SHARED:gsub("init_worker_by_lua_block {", [[%0
        function fill()
          for _ = 1, 4 do ngx.timer.at(0, function() ngx.sleep(0.5) end) end
          ngx.sleep(0.01)
        end
      ]], 1),
      server = [[
        location = /task { content_by_lua_block {
          fill()
          local task = lunarch.spawn(function(...) return select("#", ...), ... end, "born", nil)
          ngx.print(table.concat({ tostring(task:join(60)), select(2, task:join(0)) }, " "))
        } }
        location = /handler { content_by_lua_block {
          local nginx = require "lunarch.loop.nginx"
          local task = nginx.spawn_ours(function()
            fill()
            return nginx.apart(false, function(...) return "called", ... end, "so")
          end)
          ngx.print(select(2, task:join(5)))
        } }
      ]],
    }
    assert.same({ 200, "true 2 born" }, { web:get "/task" })
    assert.same({ 200, "calledso" }, { web:get "/handler" }, web:log():sub(-600))
    assert.is_true(#web:lines "lua_max_running_timers are not enough" > 1)
  end)

  it("works in tasks, light threads and coroutines of the user's", function()
    start {
      server = [[
        location = /x { content_by_lua_block {
          local function get() return client:get "/wait/threads" end
          assert(client:put("/wait/threads", "t"))
          local threads = {}
          for i = 1, 3 do threads[i] = ngx.thread.spawn(get) end
          for i = 1, 3 do
            local ok, value = ngx.thread.wait(threads[i])
            ngx.print(value)
          end
          local generator = coroutine.wrap(function()
            for i = 1, 3 do coroutine.yield((get())) end
          end)
          for i = 1, 3 do ngx.print(generator()) end
          local task = lunarch.spawn(function(...)
            lunarch.sleep(0.01)
            return get(), ...
          end, "a", nil, "b")
          local results = { task:join(60) }
          ngx.print(tostring(results[1]), tostring(results[2]), tostring(results[4]), results[5])
          local failing = lunarch.spawn(function() error "on purpose" end)
          local ok, traceback = failing:join(60)
          ngx.print(tostring(ok), traceback:match "on purpose")
          local sleeper = lunarch.spawn(lunarch.sleep, 100)
          local _, _, code = sleeper:join(0.01)
          sleeper:interrupt "enough"
          ngx.print(code, select(3, sleeper:join(60)))
        } }
      ]],
    }
    assert.same({ 200, "tttttt" .. "truetnilb" .. "falseon purpose" .. "timeoutenough" }, { web:get "/x" })
  end)

  it("serves " .. N_WAITING .. " requests that wait for one lock in order, the worker idle meanwhile", function()
    local holder = fixture.locked "/wait/many"
    start {
      server = [[
        location = /many { content_by_lua_block {
          local mutex = session():mutex "/wait/many"
          assert(mutex:lock(600))
          ngx.print(ngx.shared.counters:incr("served", 1, 0), " ", mutex.token)
          assert(mutex:unlock())
        } }
      ]],
    }
    local requests = {}
    for i = 1, N_WAITING do
      requests[i] = web:open "/many"
    end
    wait.eventually(function() return count "/wait/many/" == N_WAITING + 1 end)

    -- How often nginx's threads and gRPC's have slept and been woken.
    local function n_wakes()
      local n = 0
      for _, pid in ipairs(web:workers()) do
        local scan = uv.fs_scandir("/proc/" .. pid .. "/task")
        for tid in function() return uv.fs_scandir_next(scan) end do
          local status = tree.read("/proc/" .. pid .. "/task/" .. tid .. "/status")
          n = n + (tonumber(status:match "\nvoluntary_ctxt_switches:%s+(%d+)") or 0)
        end
      end
      return n
    end
    wait.pass(0.3)
    local before, began_s = n_wakes(), lunarch.now()
    wait.pass(1)
    local per_s = (n_wakes() - before) / (lunarch.now() - began_s)
    assert.is_true(per_s < N_WAITING, ("the workers were woken %.0f times a second"):format(per_s))

    holder:unlock()
    local token_of = {}
    for i = 1, N_WAITING do
      local status, body = requests[i]:wait()
      assert.equal(200, status, web:log():sub(-2000))
      local place, token = body:match "^(%d+) (%d+)$"
      token_of[tonumber(place)] = tonumber(token)
    end
    assert.equal(N_WAITING, #token_of)
    for i = 2, N_WAITING do
      assert.is_true(token_of[i] > token_of[i - 1])
    end
    assert.equal(0, #web:lines "%[error%]")
  end)
end)
