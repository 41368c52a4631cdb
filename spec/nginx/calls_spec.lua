-- Commands, futures, events and mirrors where nginx's own ways of ending things meet them.
local fixture = require "support.fixture"
local nginx = require "support.nginx"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

local SHARED = [[
  lua_check_client_abort on;
  lua_shared_dict lunarch 1m;
  init_worker_by_lua_block {
    lunarch = require "resty.lunarch"
    core = require "lunarch"
    client = assert(core.connect { endpoints = os.getenv "ENDPOINT" })
    future, flag = core.future(), core.event()
    function note(what)
      local file = io.open(os.getenv "JOURNAL", "a")
      file:write(what, "\n")
      file:close()
    end
    -- The pid of its shell is noted, and it ends by SIGKILL only.
    STUBBORN = {
      "sh", "-c", "trap '' TERM; echo $$ >>$JOURNAL; sleep 1000 & wait", kill_after = 0.2,
      env = { JOURNAL = os.getenv "JOURNAL" },
    }
    function run(changes)
      local command = {}
      for name, value in pairs(STUBBORN) do command[name] = value end
      for name, value in pairs(changes or {}) do command[name] = value end
      return core.exec(command)
    end
    function run_until_line(fn)
      run { [3] = "echo $$ >>$JOURNAL; echo x; sleep 1000 & wait", on_line = fn }
    end
    MORE
  }
]]

describe("in nginx", function()
  local client, server, web, journal

  setup(function() client, server = fixture.open { ttl = 60 } end)
  teardown(fixture.close)
  after_each(nginx.stop_all)
  before_each(function() journal = tree.folder() .. "/journal" end)

  local function start(options, more)
    options.env = { ENDPOINT = server.endpoint, JOURNAL = journal, TMPDIR = "PREFIX" }
    options.workers = options.workers or 1
    options.http = SHARED:gsub("MORE", function() return more or "" end) .. (options.http or "")
    web = nginx.start(options)
  end

  local function noted() return uv.fs_stat(journal) and tree.read(journal) or "" end

  local function pids()
    local list = {}
    for pid in noted():gmatch "(%d+)\n" do
      list[#list + 1] = math.tointeger(tonumber(pid))
    end
    return list
  end

  local function await_pids(n)
    wait.eventually(function() return #pids() >= n end, nil, n .. " commands")
    return pids()
  end

  -- Each leads a group of its own, which has two processes.
  local function await_groups_gone(list)
    wait.eventually(function()
      for _, pid in ipairs(list) do
        if uv.kill(-pid, 0) == 0 then return false end
      end
      return true
    end, nil, "the commands' groups to be gone")
  end

  -- ---- where it ends ----------------------------------------------------------------------------------------------

  local ENDS = {
    ["ngx.exit in another light thread"] =
      "ngx.thread.spawn(function() ngx.sleep(0.1) ngx.exit(500) end) run()",
    ["ngx.exec in another light thread"] =
      "ngx.thread.spawn(function() ngx.sleep(0.1) ngx.exec '/ready' end) run()",
    ["ngx.thread.kill"] =
      "local thread = ngx.thread.spawn(run) ngx.sleep(0.1) ngx.thread.kill(thread) ngx.print 'killed'",
    ["error in on_line"] =
      "pcall(run_until_line, function() error 'x' end)",
    ["ngx.exit in on_line"] =
      "run_until_line(function() ngx.exit(500) end)",
    ["ngx.exec in on_line"] =
      "run_until_line(function() ngx.exec '/ready' end)",
    ["ngx.redirect in on_line"] =
      "run_until_line(function() ngx.redirect '/ready' end)",
    ["ngx.exit in a subrequest"] = "ngx.location.capture '/sub' ngx.print 'over'",
  }
  for what, code in pairs(ENDS) do
    it("a command ends with what waits for it: " .. what, function()
      start { server = ("location = /x { content_by_lua_block { %s } } "):format(code) .. [[
        location = /sub { content_by_lua_block {
          ngx.thread.spawn(function() ngx.sleep(0.1) ngx.exit(500) end) run()
        } }
      ]] }
      web:get "/x"
      await_groups_gone(await_pids(1))
    end)
  end

  it("a command ends with a client that goes", function()
    start { server = [[
      location = /x { content_by_lua_block { run() } }
      location = /access { access_by_lua_block { run() } content_by_lua_block { ngx.print "x" } }
      location = /main { content_by_lua_block { ngx.location.capture "/x" } }
      location = /line { content_by_lua_block {
        run_until_line(function() ngx.sleep(1000) end)
      } }
    ]] }
    for i, path in ipairs { "/x", "/access", "/main", "/line" } do
      local request = web:open(path)
      local list = await_pids(i)
      request:close()
      await_groups_gone(list)
    end
  end)

  for how, end_it in pairs { QUIT = function() web:quit() end, TERM = function() web:stop() end } do
    it("commands in timers end with their worker, which leaves: " .. how, function()
      start({}, [[
        ngx.timer.at(0, function() run() end)
        ngx.timer.at(0, function() core.spawn(run) end)
        ngx.timer.at(0, function() pcall(run, { on_line = print }) end)
        for i = 1, 10 do ngx.timer.at(0, run) end
      ]])
      local list = await_pids(13)
      end_it()
      await_groups_gone(list)
      -- nginx has noticed none of them. (It kills a worker that does not end soon, and says so, too.)
      assert.same({}, web:lines "unknown process")
    end)
  end

  it("100 commands at once are served, and leave nothing behind", function()
    start { server = [[
      location = /x { content_by_lua_block {
        ngx.print(assert(core.exec { "sh", "-c", "sleep 0.1; echo " .. ngx.var.arg_n }).stdout)
      } }
      location = /fds { content_by_lua_block {
        -- The connection to etcd is open from the first count on.
        client:get "/calls/none"
        local n = 0
        local pipe = io.popen("ls /proc/" .. ngx.worker.pid() .. "/fd")
        for _ in pipe:lines() do n = n + 1 end
        pipe:close()
        ngx.print(n)
      } }
    ]] }
    web:get "/x?n=0"
    local before = select(2, web:get "/fds")
    local requests = {}
    for i = 1, 100 do
      requests[i] = web:open("/x?n=" .. i)
    end
    for i, request in ipairs(requests) do
      assert.same({ 200, i .. "\n" }, { request:wait() })
    end
    wait.eventually(function() return tonumber((select(2, web:get "/fds"))) <= tonumber(before) end)
    web:quit()
  end)

  it("a command has none of nginx's descriptors, and ignores no signal", function()
    start { server = [[
      location = /fd { content_by_lua_block { ngx.print(assert(core.exec { "ls", "-l", "/proc/self/fd" }).stdout) } }
      location = /signals { content_by_lua_block {
        ngx.print(assert(core.exec { "grep", "SigIgn", "/proc/self/status" }).stdout)
      } }
    ]] }
    local _, descriptors = web:get "/fd"
    assert.matches("/dev/null", descriptors)
    assert.is_nil(descriptors:find "socket:")
    assert.is_nil(descriptors:find "error.log")
    assert.matches("^SigIgn:%s+0+%s*$", (select(2, web:get "/signals")))
  end)

  -- ---- exit_worker_by_lua --------------------------------------------------------------------------------------

  it("in exit_worker_by_lua what nothing can end is waited for in vain, and nothing is begun", function()
    start({ http = [[
      exit_worker_by_lua_block {
        local function try(what, fn, ...)
          local results = { pcall(fn, ...) }
          note(what .. ": " .. tostring(results[2]) .. ", " .. tostring(results[3]) .. ", " .. tostring(results[4]))
        end
        try("future", future.wait, future, 0.01)
        try("for ever", future.wait, future)
        try("event", flag.wait, flag, 0.01)
        try("mirror", mirror.wait, mirror, "/calls/nothing", 0.01)
        try("join", task.join, task, 0.01)
        try("spawn", core.spawn, print)
        try("command", core.exec, { "false" })
        try("set", future.set, future, "set")
        try("future", future.wait, future)
      }
    ]] }, [[
      ngx.timer.at(0, function()
        task = core.spawn(core.sleep, 1000)
        mirror = assert(client:mirror("/calls/", {}, 10))
        note "begun"
      end)
    ]])
    wait.eventually(function() return noted():find "begun" end)
    web:stop()
    local text = noted()
    for _, line in ipairs {
      "future: nil, future:wait: nothing within 0.01 s, timeout", "for ever: .*nothing can go on here",
      "event: nil, event:wait: nothing within 0.01 s, timeout", "mirror: nil, .*, timeout", "join: nil, .*, timeout",
      "spawn: nil, .*nginx starts no timer here: .*, unavailable", "command: table", "set: true", "future: set",
    } do
      assert.matches(line, text)
    end
  end)

  -- ---- what is left behind ----------------------------------------------------------------------------------------

  it("a mirror whose task was ended by ngx.exit in on_change is closed, and says so", function()
    start({ server = [[
      location = /wait { content_by_lua_block {
        local mirror = assert(client:mirror("/calls/mirror/", { on_change = function() ngx.exit(0) end }, 10))
        note "begun"
        ngx.print(select(3, mirror:wait("/calls/mirror/never", 60)), " ", tostring(mirror))
      } }
    ]] })
    local request = web:open "/wait"
    wait.eventually(function() return noted():find "begun" end)
    client:put("/calls/mirror/a", "1")
    request:wait()
    assert.matches("^cancelled .*%(closed%)$", request.body)
  end)

  for what, code in pairs {
    ["a task"] = "core.spawn(function() while true do core.sleep(1) end end)",
    ["a mirror"] = "assert(client:mirror('/calls/', {}, 10))",
    ["a command in a task"] = "core.spawn(core.exec, { 'sleep', '1000' })",
    ["a future in a task"] = "core.spawn(function() future:wait() end)",
  } do
    it("a worker leaves whatever a singleton's handler has begun: " .. what, function()
      start({}, ([[
        core.singleton {
          election = "/calls/single", ttl = 60, endpoints = os.getenv "ENDPOINT",
          on_elected = function() %s note "elected" end,
          on_lost = function() note "lost" end,
        }
      ]]):format(code))
      wait.eventually(function() return noted():find "elected" end)
      web:quit()
      assert.matches("lost", noted())
    end)
  end

  -- ---- singletons -------------------------------------------------------------------------------------------------

  it("a check of a singleton's that ends in nginx's own ways has failed, and its command is gone", function()
    start({ server = [[
      location = /be { content_by_lua_block { package.loaded.how = ngx.var.arg_how } }
    ]] }, [[
      core.singleton {
        election = "/calls/checks", ttl = 60, endpoints = os.getenv "ENDPOINT",
        health_interval = 0.1, health_failures = 2, health_timeout = 0.3,
        on_elected = function() note "elected" end,
        may_stand = { "true" },
        health = function()
          local how = package.loaded.how
          if how == "exit" then ngx.exit(0) end
          if how == "command" then return run() end
          return true
        end,
        on_lost = function(_, reason) note("lost " .. reason) end,
      }
    ]])
    local function await(what, n)
      wait.eventually(function() return select(2, noted():gsub(what, "")) == n end, nil, n .. " x " .. what)
    end
    for i, how in ipairs { "exit", "command" } do
      await("elected", i)
      web:get("/be?how=" .. how)
      await("lost unhealthy", i)
      web:get "/be?how=well"
    end
    await_groups_gone(pids())
    web:quit()
  end)

  it("a singleton hands over to the worker that is asked for", function()
    start({ workers = 2 }, [[
      local name = "worker-" .. ngx.worker.id()
      core.singleton {
        election = "/calls/switched", ttl = 60, endpoints = os.getenv "ENDPOINT", per = "worker", value = name,
        on_elected = function() note("elected " .. name) end,
        on_lost = function(_, reason) note("lost " .. name .. " " .. reason) end,
      }
    ]])
    wait.eventually(function() return #client:get("/calls/switched/", { prefix = true }) == 2 end)
    local leader = wait.eventually(function() return noted():match "elected worker%-(%d)" end)
    local other = "worker-" .. (1 - leader)
    local switch = require("support.process").start {
      tree.program, "switchover", "/calls/switched", "--to", other, "--endpoints", server.endpoint,
    }
    switch:wait_exit()
    wait.eventually(function() return noted():find("elected " .. other, 1, true) end, nil, switch:output())
    assert.matches("lost worker%-" .. leader .. " handed_over\nelected " .. other:gsub("%-", "%%-"), noted())
  end)
end)
