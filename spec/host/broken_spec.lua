-- What fails beside the handlers - the driver, a task that watches, the log - does not keep on_lost from being called,
-- nor the place. Against an election in memory, under virtual time.
local fake = require "host.fake_lunarch"
local say = require "lunarch.internal.say"

describe("a candidate", function()
  local world, candidate, calls
  local write = say.write

  before_each(function()
    world = fake.new()
    package.loaded["lunarch"] = world.lunarch
    package.loaded["lunarch.candidate"] = nil
    candidate = require "lunarch.candidate"
    calls = {}
  end)

  after_each(function()
    package.loaded["lunarch"], package.loaded["lunarch.candidate"] = nil, nil
    say.write = write
  end)

  local function call(...) calls[#calls + 1] = table.concat({ ... }, " ") end

  local function make(own)
    local options = {
      election = "/e", name = "A", log = world.log,
      on_elected = function() call "on_elected" end,
      do_work = function()
        if calls[#calls] ~= "do_work" then call "do_work" end
      end,
      on_lost = function(_, reason) call("on_lost", reason) end,
    }
    for name, value in pairs(own or {}) do options[name] = value end
    return candidate(options)
  end

  -- The n-th task that is begun beside its driver cannot be begun.
  local function fail_to_spawn(c, n)
    local beside = getmetatable(c.driver).__index.beside
    c.driver.beside = function(...)
      n = n - 1
      if n == 0 then error("no thread for it", 0) end
      return beside(...)
    end
  end

  for n = 1, 6 do
    it("whose driver fails in a term ends it in order, and leaves nothing in the line: task " .. n, function()
      local c = make()
      c.handlers.on_elected = function() call "on_elected" end
      local message
      world.is_open = false
      world:at(1, function()
        fail_to_spawn(c, n)
        world.is_open = true
      end)
      world:at(10, function() pcall(c.stop, c) end)
      world:at(20, function() c:stop() end)
      world:run(function() message = select(2, pcall(c.run, c)) end)
      if n ~= 4 and n < 6 then assert.matches("no thread for it", message) end
      local text = table.concat(calls, ",")
      assert.equal(select(2, text:gsub("on_elected", "")), select(2, text:gsub("on_lost", "")), text)
      assert.equal(n > 3, text:find "on_lost" ~= nil)
      assert.is_not_nil(world:time_of("close session", 1))
    end)
  end

  it("whose log fails goes on, and the line goes to stderr", function()
    local text = ""
    say.write = function(line) text = text .. line end
    local function fail() error "the disk is full" end
    local c = make {
      log = { info = fail, warn = fail, error = fail }, do_work = function() error("on purpose", 0) end,
    }
    world:at(2, function() c:stop() end)
    world:run(function() c:run() end)
    assert.same({ "on_elected", "on_lost error", "on_elected" }, { calls[1], calls[2], calls[3] })
    assert.matches("the log failed: .*the disk is full", text)
    assert.matches("do_work failed: on purpose", text)
  end)

  it("whose watcher fails says so, and watches again", function()
    local c = make()
    world:at(1, function()
      local await = world.term.await_loss
      world.term.await_loss = function()
        world.term.await_loss = await
        return error("no memory", 0)
      end
    end)
    world.is_open = true
    world:at(30, function() c:stop() end)
    world:run(function() c:run() end)
    assert.equal("on_lost stopping", calls[#calls])
  end)
end)
