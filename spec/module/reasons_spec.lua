-- limit: 240 s
-- What on_lost is told where a term ends for a reason that is known, while a handler catches what ends it and raises
-- another error: the reason stays, whatever the handler, the cause and the world. The error is in the log.
local etcd = require "support.etcd"
local process = require "support.process"
local vm = require "support.vm"

-- Handlers that fail: each is one of a candidate of its own, and all candidates run in one program.
-- "calm" alone raises what interrupts it.
local HANDLERS = { "do_work", "rethrown", "on_elected", "health", "on_leader", "calm" }

local PRELUDE = [[
  io.stdout:setvbuf "line"
  lunarch, uv = require "lunarch", require "luv"
  candidates = {}
  local n_waiting = 0

  -- Waits until it is interrupted, and raises something else.
  local function fail(name)
    n_waiting = n_waiting + 1
    pcall(lunarch.sleep, 600)
    error(name .. " has an error of its own", 0)
  end

  local is_health_led = false
  local FAILING = {
    do_work = { do_work = function() fail "do_work" end },
    rethrown = {
      do_work = function()
        n_waiting = n_waiting + 1
        local _, err = pcall(lunarch.sleep, 600)
        error("rethrown has an error of its own: " .. tostring(err), 0)
      end,
    },
    calm = {
      do_work = function()
        n_waiting = n_waiting + 1
        lunarch.sleep(600)
      end,
    },
    on_elected = { on_elected = function() fail "on_elected" end },
    health = {
      health_interval = 0.05, health_failures = 1, health_timeout = 600,
      health = function()
        if is_health_led then fail "health" end
        return true
      end,
      on_elected = function() is_health_led = true end,
    },
    on_leader = {
      on_elected = function() end,
      on_leader = function(leader)
        if leader.is_me then fail "on_leader" end
      end,
    },
  }

  for _, name in ipairs(HANDLERS) do
    local options = {
      election = ELECTION .. name, name = name, ttl = 30, interval = 600, do_work = function() end,
    }
    function options.on_lost(_, reason)
      print(name .. " lost: " .. reason)
      options.candidate:stop()
    end
    for key, value in pairs(FAILING[name]) do options[key] = value end
    candidates[#candidates + 1] = lunarch.candidate(options)
    options.candidate = candidates[#candidates]
    options.candidate:_report_to { failed = function(handler) print(name .. " has failed in " .. handler) end }
  end

  -- Waits until every one of them waits, then CAUSE.
  function strike(sleep)
    while n_waiting < #HANDLERS do (sleep or lunarch.sleep)(0.01) end
    if CAUSE then CAUSE() end
    print "struck"
  end

  function each(fn)
    for _, candidate in ipairs(candidates) do fn(candidate) end
  end
]]

-- How candidates run.
local WORLDS = {
  ["lunarch.run"] = [[
    lunarch.run(function()
      each(function(candidate) lunarch.spawn(candidate.run, candidate) end)
      strike()
    end)]],
  ["candidate:run"] = [[
    lunarch.spawn(strike)
    local others = {}
    for i = 2, #candidates do others[i] = lunarch.spawn(candidates[i].run, candidates[i]) end
    candidates[1]:run()
    for i = 2, #candidates do others[i]:join() end]],
  ["uv.run"] = [[
    each(function(candidate) lunarch.spawn(candidate.run, candidate) end)
    lunarch.spawn(strike)
    uv.run()]],
  ["cqueues"] = [[
    local cqueues = require "cqueues"
    local cq = cqueues.new()
    each(function(candidate) cq:wrap(candidate.run, candidate) end)
    cq:wrap(strike, cqueues.sleep)
    assert(cq:loop())]],
  ["host"] = [[
    each(function(candidate) lunarch.spawn(candidate.run, candidate) end)
    strike()]],
}

local ALL = { "lunarch.run", "candidate:run", "uv.run", "cqueues", "host" }

-- What ends all the terms: the program's doing or a signal, the reason it gives, where.
local CAUSES = {
  { "stop()", "each(function(candidate) candidate:stop() end)", "stopping", ALL },
  { "stop(reason)", "each(function(candidate) candidate:stop 'at noon' end)", "at noon", ALL },
  { "resign()", [[
    each(function(candidate) candidate.term:resign() end)]], "resigned", ALL },
  { "its key deleted", [[
    each(function(candidate) candidate.client:delete(candidate.term.key) end)]], "key_deleted", ALL },
  { "os.exit()", "os.exit(3)", "exit", ALL },
  { "sigterm", nil, "stopping", ALL },
  { "sighup", nil, "stopping", ALL },
  { "sigint", nil, "stopping", { "lunarch.run", "host" } },
  { "an error of the main task", "error 'of its own'", "stopping", { "lunarch.run", "host" } },
  { "a failed callback", [[
    local timer = uv.new_timer()
    timer:start(1, 0, function() error "in a callback" end)
    lunarch.sleep(10)]], "error", { "lunarch.run", "candidate:run", "uv.run", "host" } },
}

describe("a term keeps the reason that it ends for though a handler fails afterwards,", function()
  local server
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  -- A program with all candidates, or those that `own` declares; `cause`: what ends them, as code.
  local function start(world, cause, own)
    n = n + 1
    local text = table.concat({
      ("ELECTION = '/reasons/%d/'"):format(n), ("HANDLERS = { '%s' }"):format(table.concat(HANDLERS, "', '")),
      cause and ("function CAUSE() %s end"):format(cause) or "", PRELUDE, own or "", WORLDS[world],
    }, "\n")
    local command = world == "host" and { "lunarch", "run", "-e", text } or { "lua", "-e", text }
    command.env = { LUNARCH_ENDPOINTS = server.endpoint }
    return process.start(command)
  end

  local function keeps_reason(child, reason)
    child:wait_exit()
    local output = child:output()
    for _, name in ipairs(HANDLERS) do
      local lost = child:find_all("^" .. name .. " lost: ")
      assert.equal(1, #lost, output)
      assert.equal(name .. " lost: " .. reason, lost[1].text, output)
    end
    for _, name in ipairs { "do_work", "on_elected" } do
      assert.truthy(output:find(name .. " has an error of its own", 1, true), output)
      assert.truthy(output:find(name .. " has failed in " .. name, 1, true), output)
    end
    assert.is_nil(output:find "calm has failed", output)
    assert.is_nil(output:find "calm: [ew][ra]", output)
  end

  local function each_world(worlds, fn)
    for _, world in ipairs(worlds) do
      if world ~= "host" or not vm.is_luajit then fn(world) end
    end
  end

  for _, row in ipairs(CAUSES) do
    local cause, code, reason, worlds = vm.unpack(row, 1, 4)
    each_world(worlds, function(world)
      it(("by %s under %s"):format(cause, world), function()
        local child = start(world, code)
        if not code then
          child:wait_line "^struck"
          child:signal(cause)
        end
        keeps_reason(child, reason)
      end)
    end)
  end

  -- A handler that does not wait hears of nothing: what has come while it was busy is heard before its error is.
  local BUSY = [[
    candidates = { lunarch.candidate {
      election = ELECTION .. "busy", name = "busy", ttl = 30,
      do_work = function(term)
        print("works at " .. term.key)
        IS_BUSY(term)
        error "busy has an error of its own"
      end,
      on_lost = function(_, reason)
        print("lost: " .. reason)
        candidates[1]:stop()
      end,
    } }
    function strike() end
  ]]

  local COMES = {
    { "a signal", "local till = lunarch.now() + 1 repeat until lunarch.now() > till",
      function(child) child:signal "sigterm" end, "stopping" },
    { "the loss of its key", "repeat until term:remaining() <= 0",
      function(_, key) server:etcdctl("del", key) end, "key_deleted" },
  }

  for _, row in ipairs(COMES) do
    local what, busy, come, reason = vm.unpack(row)
    each_world(ALL, function(world)
      it(("by %s that comes while it is busy under %s"):format(what, world), function()
        local child = start(world, nil, ("function IS_BUSY(term) %s end\n"):format(busy) .. BUSY)
        come(child, child:wait_line("^works at ").text:match "works at (.*)")
        child:wait_line("^lost: " .. reason .. "$")
        child:wait_exit()
        assert.truthy(child:find "busy has an error of its own")
        assert.equal(1, #child:find_all "^lost: ")
      end)
    end)
  end
end)
