-- nginx's own limits: how many timers may run and be pending. Nothing stands still without a word that names the
-- directive, and nothing raises in a request.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local wait = require "support.wait"

local N_SINGLETONS = 60

local SHARED = [[
  lua_shared_dict lunarch 1m;
  init_worker_by_lua_block {
    lunarch = require "lunarch"
    client = assert(lunarch.connect { endpoints = os.getenv "ENDPOINT" })
    worked, lost = {}, {}
    function singleton(name, do_work)
      return lunarch.singleton {
        election = "/limits/" .. name, client = client, interval = 0.2,
        do_work = do_work or function() worked[name] = (worked[name] or 0) + 1 end,
        on_lost = function() lost[name] = true end,
      }
    end
    most_running = 0
    function count_running() most_running = math.max(most_running, ngx.timer.running_count()) end
    MORE
  }
]]

local SERVER = [[
  location = /worked { content_by_lua_block {
    local n = 0
    for _, times in pairs(worked) do n = n + (times > 1 and 1 or 0) end
    ngx.print(n, " ", most_running)
  } }
  location = /lost { content_by_lua_block { ngx.print(tostring(lost.a)) } }
  location = /stop { content_by_lua_block { job:stop() } }
  location = /lost-b { content_by_lua_block { ngx.print(tostring(lost.b)) } }
  location = /fill { content_by_lua_block {
    is_full = true
    for _ = 1, tonumber(ngx.var.arg_n) do
      ngx.timer.at(0, function() while is_full do ngx.sleep(0.01) end end)
    end
    ngx.sleep(0.05)
    ngx.print "filled"
  } }
  location = /empty { content_by_lua_block { is_full = false ngx.sleep(0.05) } }
  location = /get { content_by_lua_block { ngx.print(tostring(client:get("/limits/none", nil, 20) == nil)) } }
  location = /spawn { content_by_lua_block {
    local task, message, code = lunarch.spawn(function() return "ran" end)
    if task then ngx.print(select(2, task:join(30))) else ngx.print(tostring(task), " ", code, " ", message) end
  } }
  location = /pend { content_by_lua_block {
    repeat until not ngx.timer.at(1000, function() end)
    ngx.print "pending"
  } }
  location = /locked { content_by_lua_block {
    local here = require("resty.lunarch").new { endpoints = os.getenv "ENDPOINT" }
    ngx.print(tostring((here:lock("/limits/lock", 20))):match "locked")
  } }
]]

describe("where nginx is at its limits", function()
  local client, server, web

  setup(function() client, server = fixture.open() end)
  teardown(fixture.close)
  after_each(nginx.stop_all)

  local function start(http, more)
    web = nginx.start {
      workers = 1, env = { ENDPOINT = server.endpoint }, server = SERVER, http = http .. SHARED:gsub("MORE", more),
      connections = 4096,
    }
  end

  it(N_SINGLETONS .. " singletons of one worker all work, each with two running timers at most", function()
    start("", ("for i = 1, %d do singleton('many' .. i, function() "
      .. "count_running() worked[i] = (worked[i] or 0) + 1 ngx.sleep(0.05) end) end"):format(N_SINGLETONS))
    wait.eventually(function() return (select(2, web:get "/worked")):match "^%d+" == tostring(N_SINGLETONS) end)
    local _, counts = web:get "/worked"
    assert.is_true(tonumber(counts:match "%d+$") <= 2 * N_SINGLETONS + 1, counts)
    web:quit()
    assert.same({}, web:lines "%[alert%]")
    assert.same({}, web:lines "%[error%]")
    assert.equal(0, #client:get("/limits/many", { prefix = true }))
  end)

  it("a singleton whose handler gets no running timer steps down, and says which directive is too low", function()
    start("lua_max_running_timers 3;", "singleton 'a'")
    wait.eventually(function() return select(2, web:get "/worked") == "1 0" end)
    assert.same({ 200, "filled" }, { web:get "/fill?n=3" })
    local complaint = "do_work failed: nginx dropped a timer: set lua_max_running_timers"
    wait.eventually(function() return #web:lines(complaint) > 0 end)
    -- Somebody else could lead now, if there were anybody; calls still wait and end.
    assert.same({ 200, "true" }, { web:get "/get" })
    web:get "/empty"
    wait.eventually(function() return select(2, web:get "/lost") == "true" end)
    web:quit()
    assert.equal(0, #client:get("/limits/a", { prefix = true }))
  end)

  it("on_lost is called although nginx has no timer for it", function()
    start("lua_max_pending_timers 5;", "job = singleton 'b'")
    wait.eventually(function() return (select(2, web:get "/worked")):match "^1 " end)
    web:get "/pend"
    web:get "/stop"
    wait.eventually(function() return select(2, web:get "/lost-b") == "true" end)
    wait.eventually(function() return #client:get("/limits/b", { prefix = true }) == 0 end)
    web:quit()
  end)

  -- Before ours.
  local FILLED = [[ init_by_lua_block {
    local load = require
    function require(name)
      if name == "lunarch" and not is_full then
        is_full = true
        ngx.timer.at(0, function() while is_full do ngx.sleep(0.01) end end)
      end
      return load(name)
    end
  } ]]

  it("what needs no timer of its own goes on where none can run, from the first call on", function()
    start("lua_max_running_timers 1;" .. FILLED, "")
    assert.same({ 200, "true" }, { web:get "/get" })
    assert.same({ 200, "locked" }, { web:get "/locked" })
    assert.is_true(#web:lines "lua_max_running_timers %(256 unless set%)" > 0)
    web:get "/empty"
    assert.same({ 200, "locked" }, { web:get "/locked" })
    web:quit()
  end)

  it("a task waits for a timer to run in, and the log says for which directive", function()
    start("lua_max_running_timers 3;", "")
    assert.same({ 200, "true" }, { web:get "/get" })
    web:get "/fill?n=3"
    local request = web:open "/spawn"
    wait.eventually(function() return #web:lines "nginx dropped a timer: set lua_max_running_timers" > 0 end)
    web:get "/empty"
    assert.same({ 200, "ran" }, { request:wait() })
  end)

  it("lunarch.spawn returns nil, message, code where no timer can be pending, and calls still wait", function()
    start("lua_max_pending_timers 5;", "")
    web:get "/pend"
    local _, answer = web:get "/spawn"
    assert.matches("^nil unavailable lunarch.spawn: nginx starts no timer: too many pending timers: "
      .. "set lua_max_pending_timers", answer)
    assert.same({ 200, "true" }, { web:get "/get" })
    assert.same({ 200, "locked" }, { web:get "/locked" })
    assert.is_true(#web:lines "%[error%].*lua_max_pending_timers" > 0)
    web:quit()
  end)

  it("workers without a connection to spare serve what waits", function()
    web = nginx.start {
      workers = 1, connections = 12, env = { ENDPOINT = server.endpoint }, server = SERVER,
      http = SHARED:gsub("MORE", ""),
    }
    web:get "/fill?n=20"
    for _ = 1, 3 do
      wait.eventually(function() return select(2, web:get "/get") == "true" end)
    end
    web:get "/empty"
    web:quit()
  end)
end)
