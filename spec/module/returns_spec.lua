-- limit: 120 s
-- Every call that may wait returns, with a value or a clear error, wherever and whenever it is called: while its client
-- is closing, closed or being collected, in a finalizer, in a trace function.
local args = require "lunarch.internal.args"
local etcd = require "support.etcd"
local lunarch = require "lunarch"
local vm = require "support.vm"
local wait = require "support.wait"

local LIMIT_S = 0.3

local server

local CALLS = {
  ["client:get"] = function(made) return made.client:get("/k", nil, LIMIT_S) end,
  ["client:put"] = function(made) return made.client:put("/k", "v", nil, LIMIT_S) end,
  ["client:delete"] = function(made) return made.client:delete("/k", nil, LIMIT_S) end,
  ["client:txn"] = function(made) return made.client:txn({ success = { { "get", "/k" } } }, LIMIT_S) end,
  ["client:lease"] = function(made) return made.client:lease({ ttl = 5 }, LIMIT_S) end,
  ["client:revoke"] = function(made) return made.client:revoke("1", LIMIT_S) end,
  ["client:ttl"] = function(made) return made.client:ttl("1", LIMIT_S) end,
  ["client:status"] = function(made) return made.client:status(LIMIT_S) end,
  ["client:session"] = function(made) return made.client:session({ ttl = 5 }, LIMIT_S) end,
  ["session:await"] = function(made) return made.session:await("alive", LIMIT_S) end,
  ["mutex:lock"] = function(made) return made.other:lock(LIMIT_S) end,
  ["mutex:try_lock"] = function(made) return made.other:try_lock(LIMIT_S) end,
  ["mutex:owner"] = function(made) return made.mutex:owner(LIMIT_S) end,
  ["mutex:await_loss"] = function(made) return made.mutex:await_loss(LIMIT_S) end,
  ["mutex:with"] = function(made) return made.other:with(function() return true end, LIMIT_S) end,
  ["election:campaign"] = function(made) return made.rival:campaign("B", LIMIT_S) end,
  ["election:leader"] = function(made) return made.election:leader(LIMIT_S) end,
  ["term:proclaim"] = function(made) return made.term:proclaim("A2", LIMIT_S) end,
  ["term:txn"] = function(made) return made.term:txn({ success = { { "put", "/t", "v" } } }, LIMIT_S) end,
  ["term:put"] = function(made) return made.term:put("/t", "v", nil, LIMIT_S) end,
  ["term:await_loss"] = function(made) return made.term:await_loss(LIMIT_S) end,
  ["watch:next"] = function(made) return made.watch:next(LIMIT_S) end,
  ["watch:ready"] = function(made) return made.watch:ready(LIMIT_S) end,
  ["observer:next"] = function(made) return made.observer:next(LIMIT_S) end,
  ["lunarch.sleep"] = function() return lunarch.sleep(0.01) end,
}

-- They take away what others need: last, and in this order.
local RELEASES = {
  { "mutex:unlock", function(made) return made.mutex:unlock(LIMIT_S) end },
  { "term:resign", function(made) return made.term:resign(LIMIT_S) end },
  { "watch:close", function(made) return made.watch:close() end },
  { "observer:close", function(made) return made.observer:close() end },
  { "session:close", function(made) return made.session:close({}, LIMIT_S) end },
  { "client:close", function(made) return made.client:close(LIMIT_S) end },
}

-- One of everything, in use.
local function furnish(options)
  options = options or {}
  options.endpoints = server.endpoint
  local made = { client = assert(lunarch.connect(options)) }
  made.session = assert(made.client:session { ttl = 60 })
  local name = "/returns/" .. made.session.lease
  made.mutex, made.other = assert(made.session:mutex(name)), assert(made.session:mutex(name))
  assert(made.mutex:lock(5))
  made.election, made.rival = assert(made.session:election(name)), assert(made.session:election(name .. "/rival"))
  made.term = assert(assert(made.session:election(name .. "/term")):campaign("A", 5))
  made.watch = assert(made.client:watch(name .. "/watched"))
  assert(made.watch:ready(5))
  made.observer = assert(made.client:observe(name))
  return made
end

-- Makes the call, and sees to what it said.
local function try(told, name, call, made)
  local began_at = lunarch.now()
  local results = vm.pack(pcall(call, made))
  local took_s = lunarch.now() - began_at
  local is_value = results[1] and results[2] ~= nil
  local is_error = results[1] and results[2] == nil and
    (results.n == 1 or type(results[3]) == "string" and type(results[4]) == "string" or name == "client:get")
  local is_raised = not results[1] and type(results[2]) == "string" and #results[2] > 0
  told[#told + 1] = { name = name, took_s = took_s, is_clear = is_value or is_error or is_raised, code = results[4],
    text = tostring(results[2]) .. " " .. tostring(results[3]), is_raised = is_raised }
end

-- In an order of their own, made before any finalizer runs: on LuaJIT a compiled loop over `pairs` may go in circles in
-- one (internal/each.lua).
local NAMES = args.sorted_names(CALLS)

local function try_all(made, releases)
  local told = {}
  for _, name in ipairs(NAMES) do
    try(told, name, CALLS[name], made)
  end
  for _, release in ipairs(releases and RELEASES or {}) do
    try(told, release[1], release[2], made)
  end
  return told
end

local function check(told)
  assert.is_true(#told > 0)
  for _, it in ipairs(told) do
    assert.is_true(it.is_clear, it.name .. ": " .. it.text)
    assert.is_true(it.took_s < LIMIT_S + wait.LIMIT, ("%s took %.3f s"):format(it.name, it.took_s))
  end
end

local function collect()
  collectgarbage()
  collectgarbage()
end

-- Each runs functions side by side, in its way of waiting, until all have ended.
local worlds = {
  ["in plain Lua"] = function(...)
    for i = 1, select("#", ...) do
      (select(i, ...))()
    end
  end,

  ["in tasks"] = function(...)
    local fns = { ... }
    local run = require "lunarch.loop.task".current() and function(fn) fn() end or lunarch.run
    run(function()
      local tasks = {}
      for i, fn in ipairs(fns) do
        tasks[i] = lunarch.spawn(fn)
      end
      for _, task in ipairs(tasks) do
        local ok, err = task:join(60)
        assert(ok, err)
      end
    end)
  end,

  ["under cqueues"] = function(...)
    local cqueues = require "cqueues"
    local cq = cqueues.new()
    for i = 1, select("#", ...) do
      cq:wrap((select(i, ...)))
    end
    assert(cq:loop(60))
    assert.is_true(cq:empty())
  end,
}

for name, together in pairs(worlds) do
  describe("every call returns, " .. name .. ",", function()
    before_each(function() server = etcd.start() end)

    after_each(function()
      server:thaw()
      server:stop()
    end)

    it("when its client is closed", function()
      local told
      together(function()
        local made = furnish()
        assert(made.client:close(5))
        told = try_all(made, true)
      end)
      check(told)
      for _, it_ in ipairs(told) do
        assert.is_false(it_.is_raised, it_.name .. ": " .. it_.text)
      end
    end)

    if name ~= "in plain Lua" then
      it("while its client is closing, and etcd is silent", function()
        local told, is_closed
        together(function()
          local made = furnish()
          server:freeze()
          together(function()
            assert(made.client:close(2))
            is_closed = true
          end, function()
            lunarch.sleep(0.05)
            assert.is_nil(is_closed)
            told = try_all(made, true)
          end)
        end)
        check(told)
      end)

      it("when it waits while its client is closed", function()
        local told = {}
        together(function()
          local made = furnish()
          server:freeze()
          local waiters = {}
          for what, call in pairs(CALLS) do
            waiters[#waiters + 1] = function() try(told, what, call, made) end
          end
          waiters[#waiters + 1] = function()
            lunarch.sleep(0.05)
            assert(made.client:close(0.2))
          end
          together(vm.unpack(waiters))
        end)
        check(told)
      end)

      it("when its client is closed by several at once, as long as the first of their limits", function()
        for _, is_silent in ipairs { false, true } do
          local codes = {}
          together(function()
            local made = furnish()
            if is_silent then server:freeze() end
            local closers = {}
            for i = 1, 4 do
              closers[i] = function()
                if i == 3 then lunarch.sleep(0.01) end
                codes[i] = made.client:close(i == 2 and 0.3 or 20)
              end
            end
            local began_at = lunarch.now()
            together(vm.unpack(closers))
            assert.is_true(lunarch.now() - began_at < 0.3 + wait.LIMIT)
            server:thaw()
          end)
          assert.same({ true, true, true, true }, codes)
        end
      end)
    end

    it("in a finalizer, while others wait through the same client", function()
      local told, is_served
      together(function()
        local made = furnish()
        together(function()
          assert(made.mutex:unlock(5))
          vm.finalized(function() told = try_all(made, true) end)
          collect()
        end, function()
          if name == "in plain Lua" then
            is_served = true -- it would come too late
          else
            local ok, _, code = made.other:lock(20)
            is_served = ok or code == "closed" or code == "lost" -- won, and the finalizer closed it before it was taken
          end
        end)
      end)
      check(told)
      assert.is_true(is_served)
    end)

    it("where it waits while a finalizer closes its client, which takes time", function()
      if name == "in plain Lua" then return end
      local code
      together(function()
        local made = furnish()
        server:freeze()
        together(function()
          code = select(3, made.client:session({ ttl = 5 }, 20))
        end, function()
          lunarch.sleep(0.05)
          vm.finalized(function() made.client:close(0.1) end)
          collect()
        end)
      end)
      assert.equal("closed", code)
    end)

    it("in a finalizer, while its client is collected", function()
      local told
      together(function()
        local function leave()
          local made = furnish()
          made.guard = vm.finalized(function() told = try_all(made, true) end)
        end
        leave()
        wait.eventually(function()
          collect()
          return told
        end)
      end)
      check(told)
    end)

    it("in a finalizer made before its client, while that is collected", function()
      local told
      together(function()
        local function leave()
          local made = {}
          made.guard = vm.finalized(function() told = try_all(made, true) end)
          for what, object in pairs(furnish()) do
            made[what] = object
          end
        end
        leave()
        wait.eventually(function()
          collect()
          return told
        end)
      end)
      check(told)
    end)

    it("in a trace function that asks its own client", function()
      local told, made
      together(function()
        made = furnish { trace = function()
          if made and not told then
            told = {}
            told = try_all(made)
          end
        end }
        assert(made.client:put("/k", "v"))
        lunarch.sleep(0.1)
        assert(made.client:close(5))
      end)
      check(told)
    end)

    it("when every line of a trace makes the trace function ask", function()
      local made
      together(function()
        made = furnish { trace = function() if made then made.client:session({ ttl = 5 }, LIMIT_S) end end }
        assert(made.client:put("/k", "v"))
        assert(made.client:close(5))
      end)
    end)
  end)
end
