-- An answer that says "it is yours" is asked again when it is taken: something may hold the program up between the
-- dispatch of the answer and the moment in which its waiter goes on, while etcd is silent and the lease runs out.
local block = require "lunarch.loop.block"
local core = require "lunarch.core"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local tasks = require "lunarch.loop.task"
local wait = require "support.wait"

local HELD_UP_S = 2.2 -- longer than a TTL of 2 s

local server, hold

-- Once, when the next answer has been dispatched, and before it is taken.
local function hold_up()
  local fn = hold
  hold = nil
  if fn then fn() end
end

-- Calls `fn` with such a hold-up in each wait's way from now on.
local function patched(world, name, is_before, fn)
  local own = world[name]
  world[name] = function(...)
    if is_before then hold_up() end
    local a, b = own(...)
    if not is_before then hold_up() end
    return a, b
  end
  local ok, err = pcall(fn)
  world[name] = own
  assert(ok, err)
end

local worlds = {
  ["in plain Lua"] = function(fn)
    patched(block, "wait", false, function() fn(assert(lunarch.connect { endpoints = server.endpoint })) end)
  end,

  ["in a task"] = function(fn)
    patched(tasks, "wake", true, function()
      lunarch.run(function() fn(assert(lunarch.connect { endpoints = server.endpoint })) end)
    end)
  end,

  ["under cqueues"] = function(fn)
    local cqueues = require "cqueues"
    patched(require "lunarch.loop.cqueues", "wake", true, function()
      local cq = cqueues.new()
      cq:wrap(function() fn(assert(lunarch.connect { endpoints = server.endpoint })) end)
      assert(cq:loop(wait.LIMIT))
    end)
  end,

  ["in a loop of the program's own"] = function(fn)
    local woken
    local given = {
      suspend = function(it) repeat coroutine.yield() until it.is_done end,
      wake = function() woken = true hold_up() end,
    }
    local client = assert(lunarch.connect { endpoints = server.endpoint, loop = given })
    local thread = coroutine.create(fn)
    assert(coroutine.resume(thread, client))
    while coroutine.status(thread) ~= "dead" do
      woken = false
      wait.eventually(function()
        client:dispatch()
        return woken
      end)
      assert(coroutine.resume(thread))
    end
  end,
}

-- Etcd falls silent, and the thread is held up, when the answer of `ask` has been dispatched.
local function held_up(ask)
  local was_held_up
  hold = function()
    was_held_up = true
    server:freeze()
    local until_s = lunarch.now() + HELD_UP_S
    repeat core.sleep(0.05) until lunarch.now() > until_s
  end
  local value, message, code = ask()
  server:thaw()
  assert.is_true(was_held_up)
  return value, message, code
end

local function is_lost(ask)
  local value, message, code = held_up(ask)
  assert.is_nil(value)
  assert.equal("lost", code)
  assert.matches("lost before the answer was taken: %l+$", message)
end

-- Nothing of it keeps others waiting.
local function is_vacant(place)
  wait.eventually(function() return server:etcdctl("get", "--prefix", place .. "/") == "" end)
end

local answers = {}

local function is_no_lock(method, timeout)
  return function(client)
    local session = assert(client:session { ttl = 2 })
    local mutex = assert(session:mutex "/late/lock")
    is_lost(function() return mutex[method](mutex, timeout) end)
    assert.is_false(mutex:is_held())
    assert.is_nil(mutex.token)
    assert.equal("lost", (session:state()))
    is_vacant "/late/lock"
  end
end

answers["is no lock"] = is_no_lock("lock", 5)

answers["is no term"] = function(client)
  local election = assert(assert(client:session { ttl = 2 }):election "/late/term")
  is_lost(function() return election:campaign("A", 5) end)
  is_vacant "/late/term"
  assert.equal("no_leader", select(3, election:leader(5)))
end

answers["is no session"] = function(client)
  is_lost(function() return client:session({ ttl = 2 }, 5) end)
end

-- The way of waiting makes no difference to these.
local more = {
  ["is no lock tried for"] = is_no_lock("try_lock", 5),
  ["is no lock without a time to wait"] = is_no_lock("lock", 0),

  ["does not enter the function of mutex:with"] = function(client)
    local mutex = assert(assert(client:session { ttl = 2 }):mutex "/late/with")
    local is_entered = false
    is_lost(function() return mutex:with(function() is_entered = true end, 5) end)
    assert.is_false(is_entered)
    is_vacant "/late/with"
  end,

  ["does not say that the leader is me"] = function(client)
    local election = assert(assert(client:session { ttl = 2 }):election "/late/me")
    local term = assert(election:campaign("A", 5))
    local leader = assert(election:leader(5))
    assert.is_true(leader.is_me)
    leader = assert(held_up(function() return election:leader(5) end))
    assert.equal("A", leader.value)
    assert.is_false(leader.is_me)
    assert.is_string(term.reason)
  end,
}

for name, run in pairs(worlds) do
  describe("an answer that is taken late, " .. name .. ",", function()
    before_each(function() server = etcd.start() end)
    after_each(function() server:stop() end)

    local function add(what, fn)
      it(what, function()
        run(function(client)
          fn(client)
          assert(client:close(5))
        end)
      end)
    end

    for what, fn in pairs(answers) do
      add(what, fn)
    end
    if name == "in a task" then
      for what, fn in pairs(more) do
        add(what, fn)
      end
    end
  end)
end

describe("an answer that is taken late", function()
  local client, session

  before_each(function()
    server = etcd.start()
    client = assert(lunarch.connect { endpoints = server.endpoint })
    session = assert(client:session { ttl = 60 })
  end)

  after_each(function()
    client:close(5)
    server:stop()
  end)

  -- Lets `fn` run between the dispatch of the answer and its taking.
  local function meanwhile(fn, ask)
    local a, b, c
    patched(tasks, "wake", true, function()
      lunarch.run(function()
        hold = fn
        a, b, c = ask()
      end)
    end)
    return a, b, c
  end

  it("is lost when the key was deleted meanwhile", function()
    local mutex = assert(session:mutex "/late/deleted")
    local ok, message, code = meanwhile(function()
      server:etcdctl("del", "--prefix", "/late/deleted/")
      wait.eventually(function()
        client:dispatch()
        return not mutex:is_held()
      end)
    end, function() return mutex:lock(5) end)
    assert.same({ "nil", "lost" }, { tostring(ok), code })
    assert.equal("lock /late/deleted: it was won, and lost before the answer was taken: key_deleted", message)
  end)

  it("is lost when the object was unlocked meanwhile, and a later lock is not undone by it", function()
    local mutex = assert(session:mutex "/late/unlocked")
    local task
    local ok, message, code = meanwhile(function()
      task = lunarch.spawn(function()
        assert(mutex:unlock(5))
        assert(mutex:lock(5))
      end)
    end, function() return mutex:lock(5) end)
    assert.same({ "nil", "lost" }, { tostring(ok), code })
    assert.equal("lock /late/unlocked: it was given up before this answer was taken", message)
    assert.is_true((task:join(5)))
    assert.is_true(mutex:is_held())
  end)
end)

-- Two clients number their operations alike.
describe("an answer of one client", function()
  it("does not wake a task that was torn out of its wait for it, and waits for another client", function()
    if jit then return end
    local near, far = etcd.start(), etcd.start()
    lunarch.run(function()
      local first = assert(lunarch.connect { endpoints = near.endpoint })
      local second = assert(lunarch.connect { endpoints = far.endpoint })
      local is_torn = false
      near:freeze()
      far:freeze()
      collectgarbage "stop"
      local task = lunarch.spawn(function()
        is_torn = not pcall(first.get, first, "/torn")
        return second:put("/torn", "x")
      end)
      lunarch.sleep(0)
      debug.sethook(task.thread, function()
        debug.sethook()
        error("out of nowhere", 0)
      end, "", 1)
      tasks.rouse(task)
      lunarch.sleep(0)
      near:thaw()
      local has_ended = task:join(0.3)
      collectgarbage "restart"
      far:thaw()
      assert.is_true(is_torn)
      assert.is_nil(has_ended)
      local is_fine, is_put = task:join(wait.LIMIT)
      assert.is_true(is_fine and is_put)
      assert(first:close(5) and second:close(5))
    end)
    near:stop()
    far:stop()
  end)
end)
