-- A candidate that is run in a timer, with no singleton to look after it.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local wait = require "support.wait"

describe("in nginx, a candidate that is run in a timer", function()
  local client, server, web

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  local CANDIDATE = [[
    if ngx.worker.id() ~= 0 then return end
    local lunarch = require "lunarch"
    local function run(election, on_lost)
      ngx.timer.at(0, function()
        lunarch.candidate({
          election = election, ttl = 60, endpoints = os.getenv "ENDPOINT",
          on_elected = function() ngx.log(ngx.ERR, "SPEC elected") end,
          do_work = function() return 60 end,
          on_lost = function(_, reason)
            if on_lost then on_lost(reason) end
            ngx.log(ngx.ERR, "SPEC lost ", reason)
          end,
        }):run()
      end)
    end
  ]]

  -- `code` may call run(election, on_lost) and more. `places`: locations, of a single worker.
  local function start_with(code, http, n, places)
    web = nginx.start {
      env = { ENDPOINT = server.endpoint, TMPDIR = "PREFIX" },
      http = (http or "") .. "init_worker_by_lua_block {" .. CANDIDATE .. code .. "}",
      server = places or "location = /x { return 200; }", workers = places and 1, level = "notice",
    }
    wait.eventually(function() return #web:lines "SPEC elected" == (n or 1) end)
  end

  local function start(election, http)
    start_with(("run %q"):format(election), http)
  end

  it("loses its term in order when nginx quits, and the worker leaves", function()
    start "/candidate/quit"
    web:quit()
    assert.equal(1, #web:lines "SPEC lost stopping")
    assert.equal(0, #client:get("/candidate/quit/", { prefix = true }))
  end)

  it("hands over to the next worker when nginx is reloaded", function()
    start "/candidate/reload"
    nginx.wait_gone(web:reload())
    wait.eventually(function() return #web:lines "SPEC elected" == 2 end)
    assert.equal(1, #web:lines "SPEC lost stopping")
  end)

  -- ---- nginx -s stop ----------------------------------------------------------------------------------------------

  local EXIT = [[ exit_worker_by_lua_block { require("resty.lunarch").exit_worker(1) } ]]

  it("loses its term in order when nginx stops at once, where exit_worker_by_lua lets it", function()
    start("/candidate/fast", EXIT)
    web:stop()
    assert.equal(1, #web:lines "SPEC lost stopping")
    assert.equal(0, #client:get("/candidate/fast/", { prefix = true }))
    assert.equal(0, #web:lines "%[alert%]")
  end)

  it("is one of several, each of which has its on_lost once, whatever another's does", function()
    start_with([[
      run("/candidate/several/a", function() lunarch.sleep(0.05) end)
      run("/candidate/several/b", function() error "SPEC on purpose" end)
      run("/candidate/several/c", function() assert(lunarch.exec { "true" }) end)
      run "/candidate/several/d"
      lunarch.singleton {
        election = "/candidate/several/singleton", ttl = 60, endpoints = os.getenv "ENDPOINT",
        on_elected = function() ngx.log(ngx.ERR, "SPEC elected") end,
        on_lost = function() ngx.log(ngx.ERR, "SPEC single lost") end,
      }
    ]], "lua_shared_dict lunarch 1m;" .. EXIT, 5)
    web:stop()
    assert.equal(3, #web:lines "SPEC lost stopping")
    assert.equal(1, #web:lines "on_lost failed: .*SPEC on purpose")
    assert.equal(1, #web:lines "SPEC single lost")
    assert.equal(0, #client:get("/candidate/several/", { prefix = true }))
  end)

  -- nginx runs the next requests in the coroutine of the one that has gone.
  it("loses its term before os.exit in a request ends the worker, though the client has gone meanwhile", function()
    start_with([[
      run("/candidate/exit", function()
        ngx.log(ngx.ERR, "SPEC losing")
        while not package.loaded.may_end do lunarch.sleep(0.02) end
      end)
    ]], "lua_check_client_abort on;", 1, [[
      location = /exit { content_by_lua_block { os.exit(7) } }
      location = /others { content_by_lua_block {
        local a, b, c, d, e, f, g, h = 1, 2, 3, 4, 5, 6, 7, 8
        ngx.sleep(0.01)
        package.loaded.may_end = ngx.var.arg_last ~= nil
        ngx.say(a, b, c, d, e, f, g, h)
      } }
    ]])
    local request = web:open "/exit"
    wait.eventually(function() return #web:lines "SPEC losing" == 1 end)
    request:close()
    for _ = 1, 5 do web:get "/others" end
    web:open "/others?last=1"
    wait.eventually(function() return #web:lines "exited with code" == 1 end)
    assert.equal(1, #web:lines "exited with code 7")
  end)

  it("leaves its place without on_lost where nothing lets it", function()
    start "/candidate/gone"
    web:stop()
    assert.equal(0, #web:lines "SPEC lost")
    assert.equal(0, #client:get("/candidate/gone/", { prefix = true }))
  end)
end)
