-- clusters: plain mtls
-- Waiting seen from outside: signals, the end of the process, the environment, traces.
local etcd = require "support.etcd"
local process = require "support.process"
local vm = require "support.vm"

describe("a Lua program", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  local PRELUDE = [[
    local lunarch = require "lunarch"
    local client = assert(lunarch.connect())
    io.stdout:setvbuf "line"
    local function blocked()
      local session = assert(client:session { ttl = 60 })
      local name = "/waiting/" .. session.lease
      local held, mutex = session:mutex(name), session:mutex(name)
      assert(held:lock())
      holder = held -- a collected one would unlock
      return mutex, held
    end
  ]]

  local function program(text, env)
    env = env or {}
    env.LUNARCH_ENDPOINTS = env.LUNARCH_ENDPOINTS == nil and server.endpoint or env.LUNARCH_ENDPOINTS
    return process.start { "lua", "-e", PRELUDE .. text, env = env }
  end

  local function output_of(text, env)
    local p = program(text, env)
    local status, signal = p:wait_exit()
    assert.same({ 0, 0 }, { status, signal }, p:output())
    return p:output()
  end

  for where, text in pairs {
    ["a blocking call"] = [[
      local mutex, held = blocked()
      print(pcall(function() print "waiting" mutex:lock() end))
      assert(held:unlock())
      assert(mutex:lock(60))
      print "again"]],
    ["a blocking sleep"] = [[
      print(pcall(function() print "waiting" lunarch.sleep(100) end))
      print "again"]],
    ["a task"] = [[
      local mutex = blocked()
      print(pcall(function() print "waiting" lunarch.run(function() mutex:lock() end) end))
      print "again"]],
    ["a wait outside of tasks while there are some"] = [[
      local mutex = blocked()
      local task = lunarch.spawn(function() mutex:lock() end)
      print(pcall(function() print "waiting" return task:join() end))
      print "again"]],
  } do
    it("is interrupted by Ctrl-C in " .. where .. ", and can go on", function()
      local p = program(text .. "\nos.exit(0, true)")
      p:wait_line "waiting"
      -- The signal may come before the wait.
      p:signal "sigint"
      local line = p:wait_line "interrupted!"
      -- LuaJIT may raise it in the task that is waited for.
      assert.matches(vm.is_luajit and "^t?r?u?e?%s?false" or "^false", line.text)
      p:wait_line "again"
      local status, signal = p:wait_exit()
      assert.same({ 0, 0 }, { status, signal })
    end)
  end

  it("ends cleanly whatever it leaves behind", function()
    output_of [[
      local mutex = blocked()
      lunarch.spawn(function() mutex:lock() end)
      pcall(lunarch.run, function() error "stop here" end)
      local watch = client:watch "/waiting"
      lunarch.spawn(function() watch:next() end)
      client:get "/k"]]
    output_of "client:close(); client:session()"
    output_of "os.exit(0)"
  end)

  it("that ends gives up its places when it calls shutdown", function()
    local lines = output_of [[
      do
        local session = client:session { ttl = 60 }
        print(session.lease)
        client, session = nil, nil
      end
      collectgarbage()
      lunarch.shutdown(5)]]
    local lease = lines:match "%x+"
    local text = server:etcdctl("lease", "timetolive", lease)
    assert.matches("already expired", text)
  end)

  -- Now and then a program outran its own releases: so many of them, and all at once.
  it("that merely ends, or fails, gives up its places too", function()
    local prefix, programs = "/waiting/ends/", {}
    for i = 1, 16 do
      programs[i] = program(([[
        local mutex = client:session { ttl = 60 }:mutex("%s%d")
        assert(mutex:lock())
        if %s then error "on purpose" end]]):format(prefix, i, i % 2 == 0))
    end
    for i, p in ipairs(programs) do
      assert.equal(i % 2 == 0 and 1 or 0, (p:wait_exit()))
    end
    assert.equal("", server:etcdctl("get", "--prefix", "--keys-only", prefix))
  end)

  it("may forbid undeclared globals, as strict.lua does", function()
    local p = process.start {
      "lua", "-e", [[
        -- What C does is allowed there, too: luv asks for a global of its own.
        local function refuse(_, name)
          local info = debug.getinfo(2, "S")
          if info and info.what ~= "C" then error("undeclared: " .. tostring(name), 2) end
        end
        setmetatable(_G, { __index = refuse, __newindex = refuse })
        local lunarch = require "lunarch"
        local client = assert(lunarch.connect())
        local candidate
        candidate = lunarch.candidate {
          client = client, election = "/waiting/strict", do_work = function() print "work" candidate:stop() end,
        }
        candidate:run()
        assert(client:close(5))]],
      env = { LUNARCH_ENDPOINTS = server.endpoint },
    }
    local status = p:wait_exit()
    assert.same({ "work\n", 0 }, { p:output(), status })
  end)

  it("finds its endpoints in the environment, ours first", function()
    local text = [[print(table.concat(client.endpoints, " "), (client:get("/k", nil, 5)))]]
    local shown = server.endpoint:gsub(",", " ")
    assert.matches("^127.0.0.1:1 " .. shown .. "\t",
      output_of(text, { LUNARCH_ENDPOINTS = "127.0.0.1:1," .. server.endpoint, ETCDCTL_ENDPOINTS = "127.0.0.1:2" }))
    assert.matches("^" .. shown .. "\t",
      output_of(text, { LUNARCH_ENDPOINTS = false, ETCDCTL_ENDPOINTS = server.endpoint }))
    assert.matches("^127.0.0.1:2379\n", output_of([[print(table.concat(client.endpoints, " "))]],
      { LUNARCH_ENDPOINTS = false, ETCDCTL_ENDPOINTS = false }))
  end)

  it("is told which variable is wrong", function()
    local p = process.start {
      "lua", "-e", [[print(require "lunarch".connect())]], env = { LUNARCH_ENDPOINTS = "nope" },
    }
    p:wait_exit()
    assert.matches("^nil\tLUNARCH_ENDPOINTS: .*nope.*\tinvalid", p:output())
  end)

  it("prints nothing by itself, and its trace where it is wished for", function()
    assert.equal("", output_of "client:put('/k', 'v')")
    local traced = output_of("client:session { ttl = 5 }", { LUNARCH_TRACE = "1" })
    assert.is_true(#traced > 0)
    assert.equal("", output_of("client:session { ttl = 5 }", { LUNARCH_TRACE = "0" }))
  end)

  it("whose trace function fails goes on, and is told", function()
    local p = process.start {
      "lua", "-e", [[
        local client = assert(require "lunarch".connect { trace = function() error "bad trace" end })
        assert(client:session { ttl = 5 })
        print "went on"]],
      env = { LUNARCH_ENDPOINTS = server.endpoint },
    }
    p:wait_exit()
    assert.matches("the trace function failed: .*bad trace", p:output())
    assert.matches("went on", p:output())
  end)

  it("without luv waits by blocking, and is told what tasks need", function()
    local text = output_of [[
      package.preload.luv = function() error "no luv here" end
      package.loaded.luv = nil
      print(client:put("/k", "v"))
      print(lunarch.sleep(0.01))
      print(pcall(function() lunarch.spawn(print) end))]]
    assert.matches("^true\t%d+\tnil\ntrue\nfalse\t.*lunarch.spawn needs luv.*lua%-luv", text)
  end)
end)
