-- A loop that is nobody's we know: coroutines, and poll(2) on the client's descriptor.
local core = require "lunarch.core"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local vm = require "support.vm"
local wait = require "support.wait"

-- Runs functions in coroutines until all have ended; `clients` are dispatched when poll(2) says so.
local function new_loop()
  local loop = { ready = {}, n_alive = 0, clients = {}, n_polls = 0 }

  function loop.start(fn, ...)
    loop.n_alive = loop.n_alive + 1
    local values = vm.pack(...)
    loop.ready[#loop.ready + 1] = coroutine.create(function()
      fn(vm.unpack(values, 1, values.n))
      loop.n_alive = loop.n_alive - 1
    end)
  end

  function loop.run()
    local deadline = lunarch.now() + wait.LIMIT
    while loop.n_alive > 0 do
      assert(lunarch.now() < deadline, "the loop waits in vain")
      local thread = table.remove(loop.ready, 1)
      if thread then
        assert(coroutine.resume(thread))
      else
        for _, client in ipairs(loop.clients) do
          loop.n_polls = loop.n_polls + 1
          if core.await_fd(client:pollfd(), #loop.clients == 1 and 1000 or 1) then client:dispatch() end
        end
      end
    end
  end

  loop.given = {
    suspend = function(it)
      it.thread = coroutine.running()
      repeat coroutine.yield() until it.is_done
    end,
    wake = function(it) loop.ready[#loop.ready + 1] = it.thread end,
  }
  return loop
end

describe("in a loop of the program's own", function()
  local server, loop, client

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  before_each(function()
    loop = new_loop()
    client = assert(lunarch.connect { endpoints = server.endpoint, loop = loop.given })
    loop.clients[1] = client
  end)

  after_each(function() client:close(5) end)

  it("the client says what to poll for", function()
    assert.is_true(client:pollfd() > 2)
    assert.equal("r", client:events())
    assert.is_nil(client:timeout())
    assert.equal(0, client:dispatch())
  end)

  it("calls yield, and go on after dispatch, without turning in circles meanwhile", function()
    local order = {}
    for i = 1, 3 do
      loop.start(function()
        for j = 1, 3 do
          assert(client:put("/foreign/" .. i, tostring(j)))
          order[#order + 1] = i
        end
      end)
    end
    loop.run()
    assert.equal(9, #order)
    assert.is_true(loop.n_polls < 60)
    assert.are_not.same({ 1, 1, 1, 2, 2, 2, 3, 3, 3 }, order)
  end)

  it("a lock waits for its turn, an election is won and lost", function()
    local order = {}
    loop.start(function()
      local session = assert(client:session { ttl = 60 })
      local mutex = assert(session:mutex "/foreign/lock")
      assert(mutex:lock())
      loop.start(function()
        local other = assert(session:mutex "/foreign/lock")
        order[#order + 1] = "waits"
        assert(other:lock(60))
        order[#order + 1] = "locked"
        assert(other:unlock())
        local term = assert(assert(session:election "/foreign/election"):campaign "A")
        assert(term:put("/foreign/led", "yes"))
        assert(term:resign())
        order[#order + 1] = "resigned"
      end)
      assert(client:put("/foreign/time", "goes by"))
      order[#order + 1] = "unlock"
      assert(mutex:unlock())
    end)
    loop.run()
    assert.same({ "waits", "unlock", "locked", "resigned" }, order)
  end)

  it("several clients are served side by side", function()
    local second = assert(lunarch.connect { endpoints = server.endpoint, loop = loop.given })
    loop.clients[2] = second
    loop.start(function() assert(client:put("/foreign/a", "1")) end)
    loop.start(function() assert(second:put("/foreign/b", "2")) end)
    loop.run()
    assert.equal("1", (second:get "/foreign/a"))
    second:close(5)
  end)

  it("outside of its coroutines a call blocks", function()
    assert(client:put("/foreign/main", "x"))
    assert.equal("x", (client:get "/foreign/main"))
    assert.equal(0, loop.n_polls)
  end)

  local function places(name)
    local _, n = server:etcdctl("get", "--prefix", name .. "/", "--keys-only"):gsub("/", "")
    local _, n_each = name:gsub("/", "")
    return n / (n_each + 1)
  end

  -- A client, and a coroutine that waits for the lock through it: nobody else knows of either.
  local function queue(name)
    local asker = assert(lunarch.connect { endpoints = server.endpoint, loop = {
      suspend = loop.given.suspend, wake = function(it) assert(coroutine.resume(it.thread)) end,
    } })
    coroutine.wrap(function() assert(assert(asker:session { ttl = 60 }):mutex(name)):lock() end)()
    wait.eventually(function()
      asker:dispatch()
      return places(name) == 2
    end)
  end

  it("a client that is abandoned with whoever waits through it leaves the line", function()
    local name = "/foreign/abandoned/client"
    local held = assert(assert(client:session { ttl = 60 }):mutex(name))
    assert(held:lock())
    queue(name)
    wait.eventually(function()
      vm.collect()
      return places(name) == 1
    end)
    assert.is_true(held:is_held())
  end)

  it("a client that is closed in the middle of a wait answers it", function()
    local codes = {}
    loop.start(function()
      local watch = assert(client:watch "/foreign/nothing")
      codes[#codes + 1] = select(3, watch:next())
    end)
    loop.start(function()
      assert(client:put("/foreign/k", "v"))
      assert(client:close(5))
    end)
    loop.run()
    assert.same({ "closed" }, codes)
  end)

  it("an error that suspend raises ends the wait, which leaves nothing behind", function()
    local message
    loop.start(function()
      local session = assert(client:session { ttl = 60 })
      local held, mutex = assert(session:mutex "/foreign/err"), assert(session:mutex "/foreign/err")
      assert(held:lock())
      local suspend = loop.given.suspend
      loop.given.suspend = function() error("enough", 0) end
      local _, err = pcall(mutex.lock, mutex)
      message = err
      loop.given.suspend = suspend
      wait.eventually(function()
        return #assert(client:get("/foreign/err/", { prefix = true, keys_only = true })) == 1
      end)
    end)
    loop.run()
    assert.equal("enough", message)
  end)
end)
