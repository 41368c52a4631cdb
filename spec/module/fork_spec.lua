-- vms: luajit
-- A forked child: what its parent holds is not its own. LuaJIT alone can fork without a library.
local etcd = require "support.etcd"
local ffi = require "ffi"
local lunarch = require "lunarch"
local process = require "support.process"
local wait = require "support.wait"

ffi.cdef [[
  int fork(void);
  void _exit(int status);
  int waitpid(int pid, int *status, int options);
]]

describe("in a forked child", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  local function look(made)
    local path = os.tmpname()
    local child = ffi.C.fork()
    if child == 0 then
      local wrong = {}
      local function check(what, is_right)
        if not is_right then wrong[#wrong + 1] = what end
      end
      pcall(made.look, check)
      local file = io.open(path, "w")
      file:write("looked: ", table.concat(wrong, ", "))
      file:close()
      ffi.C._exit(0)
    end
    local status = ffi.new "int[1]"
    assert.equal(child, ffi.C.waitpid(child, status, 0))
    assert.equal(0, status[0])
    local file = assert(io.open(path))
    local said = file:read "*a"
    file:close()
    os.remove(path)
    return said
  end

  it("every call is refused with a word, and nothing is held", function()
    local client = assert(lunarch.connect { endpoints = server.endpoint })
    local session = assert(client:session { ttl = 5 })
    local mutex, election = assert(session:mutex "/fork/m"), assert(session:election "/fork/e")
    assert(mutex:lock(5))
    local term = assert(election:campaign("A", 5))
    local watch, observer = assert(client:watch "/fork/w"), assert(client:observe "/fork/e")
    local said = look { look = function(check)
      local calls = {
        get = function() return client:get "/k" end,
        put = function() return client:put("/k", "v") end,
        txn = function() return client:txn { success = { { "get", "/k" } } } end,
        lease = function() return client:lease { ttl = 5 } end,
        status = function() return client:status() end,
        session = function() return client:session() end,
        watch = function() return client:watch "/k" end,
        observe = function() return client:observe "/k" end,
        close = function() return client:close(1) end,
        await = function() return session:await "alive" end,
        ["session:close"] = function() return session:close({}, 1) end,
        orphan = function() return session:orphan() end,
        mutex = function() return session:mutex "/x" end,
        election = function() return session:election "/x" end,
        lock = function() return session:mutex "/x" end,
        try_lock = function() return mutex:try_lock() end,
        unlock = function() return mutex:unlock() end,
        owner = function() return mutex:owner() end,
        ["mutex:await_loss"] = function() return mutex:await_loss() end,
        leader = function() return election:leader() end,
        proclaim = function() return term:proclaim "B" end,
        term_put = function() return term:put("/k", "v") end,
        ["term:await_loss"] = function() return term:await_loss() end,
        resign = function() return term:resign() end,
        next = function() return watch:next() end,
        ready = function() return watch:ready() end,
        ["observer:next"] = function() return observer:next() end,
      }
      for name, call in pairs(calls) do
        local ok, value, message, code = pcall(call)
        check(name, ok and value == nil and code == "closed" and message:find("before fork", 1, true))
      end
      check("remaining", session:remaining() == 0 and mutex:remaining() == 0 and term:remaining() == 0)
      check("state", session:state() == "closed")
      check("stop_at", not session.stop_at and not session.valid_until and not mutex.stop_at and not term.stop_at)
      check("held", not mutex:is_held() and not mutex.token and not mutex.key)
      check("term", term.reason == "closed" and not term.valid_until)
      check("pollfd", client:pollfd() == -1)
      check("tostring", tostring(session) .. tostring(mutex) .. tostring(term) .. tostring(client) ~= "")
    end }
    assert.equal("looked: ", said)
    assert.is_true(mutex:is_held())
    assert.is_nil(term.reason)
    assert(client:close(5))
  end)
end)

-- The program forks once its command, of so many seconds, has begun, and calls `in_child` there.
local function forking(in_child, seconds)
  return process.start { "lua", "-e", [[
    local ffi = require "ffi"
    local lunarch = require "lunarch"
    ffi.cdef "int fork(void); int pause(void); int waitpid(int pid, int *status, int options);"
    local function in_child() ]] .. in_child .. [[ end
    local has_forked, child
    local script = "echo $$; sleep ]] .. seconds .. [[; exit 3"
    local result, message = lunarch.exec { "sh", "-c", script, on_line = function(pid)
      if has_forked then return end
      has_forked, child = true, ffi.C.fork()
      if child == 0 then return in_child() end
      print(pid .. " " .. child)
      io.stdout:flush()
    end }
    if child == 0 then os.exit(0) end
    print("ended " .. tostring(result and result.code or message))]] }
end

describe("a command whose process forks", function()
  after_each(process.end_all)

  it("is not waited for any worse when the child ends, or goes on there", function()
    for _, in_child in ipairs {
      "os.exit(0, true)", "assert(lunarch.exec { 'true' }) os.exit(0, true)", "error 'enough'", "return",
    } do
      assert.equal("ended 3", forking(in_child, 1):wait_line "^ended".text)
    end
  end)

  it("is ended with it though the child lives on", function()
    local program = forking("ffi.C.pause()", 1000)
    local pid, child = program:wait_line "^%d+ %d+".text:match "(%d+) (%d+)"
    program:signal "sigkill"
    wait.eventually(function()
      return not process.is_running(tonumber(pid)) or process.state_of(tonumber(pid)) == "Z"
    end)
    local was_there = process.is_running(tonumber(child))
    process.kill9(tonumber(child))
    assert.is_true(was_there)
  end)
end)
