-- What becomes of locks and waits when a request, a worker or nginx ends before they do.
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local nginx = require "support.nginx"
local process = require "support.process"
local wait = require "support.wait"

local SHARED = [[
  lua_check_client_abort on;
  init_worker_by_lua_block {
    lunarch = require "resty.lunarch"
    here = assert(lunarch.new { endpoints = os.getenv "ENDPOINT", ttl = 60 })
  }
]]

describe("in nginx", function()
  local client, server, web

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  local function start(options)
    options.env = { ENDPOINT = server.endpoint, TMPDIR = "PREFIX" }
    options.http = SHARED .. (options.http or "")
    web = nginx.start(options)
  end

  local function places(name)
    return #client:get(name .. "/", { prefix = true })
  end

  local function await_places(name, n)
    wait.eventually(function() return places(name) == n end, nil, n .. " places in " .. name)
  end

  local function n_leases()
    return tonumber(server:etcdctl("lease", "list"):match "found (%d+) leases")
  end

  -- ---- a request --------------------------------------------------------------------------------------------------

  it("a request waits for a lock no longer than it may, and can say so", function()
    local holder = fixture.locked "/end/bounded"
    start { workers = 1, server = [[
      location = /x { access_by_lua_block {
        local lock, message, code = here:lock("/end/bounded", 0.2)
        if not lock then
          ngx.status = 503
          ngx.print(code)
          return ngx.exit(503)
        end
      } }
    ]] }
    -- At first it may be the session that is waited for.
    wait.eventually(function() return select(2, web:get "/x") == "timeout" end)
    local began_at = lunarch.now()
    assert.same({ 503, "timeout" }, { web:get "/x" })
    assert.is_true(lunarch.now() - began_at >= 0.2)
    await_places("/end/bounded", 1)
    holder:unlock()
  end)

  it("a place in line goes when the client does", function()
    local holder = fixture.locked "/end/waiting"
    start { server = [[
      location = /released {
        content_by_lua_block { here:lock "/end/waiting" }
        log_by_lua_block { lunarch.release() }
      }
      location = /left { content_by_lua_block { here:lock "/end/waiting" } }
    ]] }
    for _, path in ipairs { "/released", "/left" } do
      local request = web:open(path)
      await_places("/end/waiting", 2)
      request:close()
      await_places("/end/waiting", 1)
    end
    holder:unlock()
    await_places("/end/waiting", 0)
  end)

  it("a lock is given up when the client goes: by on_abort, and by release in log_by_lua", function()
    start { server = [[
      location = /on_abort { content_by_lua_block {
        local lock = assert(here:lock("/end/held", 60))
        assert(ngx.on_abort(function()
          lock:unlock()
          ngx.exit(499)
        end))
        ngx.sleep(60)
      } }
      location = /release {
        content_by_lua_block {
          assert(here:lock("/end/held", 60))
          ngx.sleep(60)
        }
        log_by_lua_block { lunarch.release() }
      }
    ]] }
    for _, path in ipairs { "/on_abort", "/release", "/on_abort", "/release" } do
      local request = web:open(path)
      await_places("/end/held", 1)
      request:close()
      await_places("/end/held", 0)
    end
  end)

  it("a lock taken in access is held over what follows, and given up however that ends", function()
    start { server = [[
      location = /proxied {
        access_by_lua_block {
          assert(here:lock("/end/access", 60))
        }
        proxy_pass http://127.0.0.1:PORT/upstream;
        log_by_lua_block { lunarch.release() }
      }
      location = /upstream { content_by_lua_block { ngx.sleep(0.1) ngx.print "served" } }
      location = /exits {
        content_by_lua_block {
          here:with("/end/access", 5, function()
            ngx.exit(403)
          end)
        }
        log_by_lua_block { lunarch.release() }
      }
      location = /fails {
        content_by_lua_block {
          here:with("/end/access", 5, function() error "on purpose" end)
        }
      }
    ]] }
    local requests = {}
    for i = 1, 3 do
      requests[i] = web:open "/proxied"
    end
    await_places("/end/access", 3)
    for _, request in ipairs(requests) do
      assert.same({ 200, "served" }, { request:wait() })
    end
    await_places("/end/access", 0)
    for path, status in pairs { ["/exits"] = 403, ["/fails"] = 500 } do
      assert.equal(status, (web:get(path)))
      await_places("/end/access", 0)
    end
    local request = web:open "/proxied"
    await_places("/end/access", 1)
    request:close()
    await_places("/end/access", 0)
  end)

  -- ---- a worker ---------------------------------------------------------------------------------------------------

  it("reloads under waiting requests: they are served by the old workers, which then go, and their leases", function()
    start { server = [[
      location = /lock { content_by_lua_block {
        here:with("/end/reload", 20, function(lock) ngx.print(lock.token) end)
      } }
    ]] }
    local before = n_leases()
    for _ = 1, 3 do
      local holder = fixture.locked "/end/reload"
      local requests = {}
      for i = 1, 8 do
        requests[i] = web:open "/lock"
      end
      await_places("/end/reload", 9)
      local old = web:reload()
      wait.pass(0.1)
      holder:unlock()
      for _, request in ipairs(requests) do
        assert.equal(200, (request:wait()))
      end
      nginx.wait_gone(old)
    end
    web:quit()
    wait.eventually(function() return n_leases() == before end)
    assert.equal(0, #web:lines "%[alert%]")
    -- Nothing is left of the sockets.
    assert.is_nil(table.concat(web:files "", "\n"):find "lunarch%-")
  end)

  it("a timer that waits for ever does not keep a worker that is told to leave", function()
    start { http = [[
      lua_shared_dict seen 1m;
    ]], server = [[
      location = /begin { content_by_lua_block {
        ngx.timer.at(0, function()
          local ok, err = pcall(function()
            for leader in here.client:observe "/end/nobody" do end
          end)
          ngx.log(ngx.WARN, "observer: ", tostring(err))
        end)
        lunarch_task = require("lunarch").spawn(function()
          require("lunarch").sleep(1000)
        end)
        ngx.print "begun"
      } }
    ]] }
    for _ = 1, 4 do
      web:get "/begin"
    end
    local old = web:reload()
    nginx.wait_gone(old)
    assert.is_true(#web:lines "observer: the worker is leaving" > 0)
  end)

  it("nor do many tasks that wait, each of which is interrupted for itself", function()
    start { server = [[
      location = /begin { content_by_lua_block {
        for _ = 1, 30 do require("lunarch").spawn(require("lunarch").sleep, 1000) end
        ngx.sleep(0.1)
      } }
    ]] }
    web:get "/begin"
    nginx.wait_gone(web:reload())
  end)

  it("exit_worker_by_lua may hold the worker up to close what is left", function()
    start { http = [[
      exit_worker_by_lua_block { lunarch.exit_worker(1) }
    ]], server = [[
      location = /open { content_by_lua_block { ngx.print(here:session().lease) } }
    ]] }
    local before = n_leases()
    local _, lease = web:get "/open"
    assert.matches("^%x+$", lease)
    assert.equal(before + 1, n_leases())
    web:quit()
    assert.equal(before, n_leases())
  end)

  it("exit_worker is refused where the worker goes on", function()
    start { server = [[
      location = /x { content_by_lua_block { ngx.print(select(2, pcall(lunarch.exit_worker, 1))) } }
      location = /lock { content_by_lua_block { here:with("/end/refused", 5, function() ngx.print "fine" end) } }
    ]] }
    local _, message = web:get "/x"
    assert.matches("in exit_worker_by_lua%* only", message)
    assert.same({ 200, "fine" }, { web:get "/lock" })
  end)

  it("a worker that is killed leaves its locks to the TTL, and the others go on", function()
    start { server = [[
      location = /pid { content_by_lua_block { ngx.print(ngx.worker.pid()) } }
      location = /lock { content_by_lua_block {
        here:with("/end/kill", 20, function(lock) ngx.print(lock.token) end)
      } }
    ]] }
    web:get "/lock"
    local _, pid = web:get "/pid"
    process.kill9(math.tointeger(tonumber(pid)))
    for _ = 1, 4 do
      assert.equal(200, (web:get "/lock"))
    end
  end)

  it("fast shutdown in the middle of waits ends them, and gives up what was held", function()
    local holder = fixture.locked "/end/fast"
    start { server = [[ location = /lock { content_by_lua_block { here:lock("/end/fast", 6000) } } ]] }
    local before = n_leases()
    for _ = 1, 10 do
      web:open "/lock"
    end
    await_places("/end/fast", 11)
    web:stop()
    await_places("/end/fast", 1)
    assert.is_true(n_leases() <= before)
    holder:unlock()
  end)

  -- ---- a fork -----------------------------------------------------------------------------------------------------

  it("what is required in init_by_lua serves every worker", function()
    start { http = [[
      init_by_lua_block {
        require "resty.lunarch"
        require "lunarch.singleton"
      }
    ]], server = [[
      location = /x { content_by_lua_block {
        here:with("/end/preloaded", 5, function() ngx.print "fine" end)
      } }
    ]] }
    local old = {}
    for _ = 1, 2 do
      assert.same({ 200, "fine" }, { web:get "/x" })
      old = web:reload()
    end
    nginx.wait_gone(old)
    assert.same({ 200, "fine" }, { web:get "/x" })
  end)
end)
