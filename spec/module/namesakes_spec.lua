-- What is probably a mistake, said as a warning: two candidates of one name, and code that waits for its own lock.
local fixture = require "support.fixture"
local lunarch = require "lunarch"
local wait = require "support.wait"

describe("a warning", function()
  local _, server, session

  setup(function() _, server, session = fixture.open { ttl = 60 } end)
  teardown(fixture.close)

  local function new_log()
    local lines = {}
    local log = { info = function() end }
    function log.warn(format, ...) lines[#lines + 1] = format:format(...) end
    log.error = log.warn
    function lines.with(text)
      for _, line in ipairs(lines) do
        if line:find(text, 1, true) then return true end
      end
      return false
    end
    return log, lines
  end

  -- Runs candidates, each with a client of its own unless they share one, until `is_over()`.
  local function run(options_of_each, is_over)
    lunarch.run(function()
      local candidates = {}
      for i, options in ipairs(options_of_each) do
        options.ttl, options.do_work = 2, function() return 0.05 end
        if not options.client then options.endpoints = server.endpoint end
        local candidate = lunarch.candidate(options)
        candidates[i] = candidate
        lunarch.spawn(candidate.run, candidate)
      end
      local until_s = lunarch.now() + wait.LIMIT
      while not is_over() and lunarch.now() < until_s do
        lunarch.sleep(0.05)
      end
      for _, candidate in ipairs(candidates) do
        candidate:stop()
      end
    end)
  end

  it("names two candidates of a process that have one name", function()
    local log, lines = new_log()
    local own = { election = "/warned/process", name = "A", log = log }
    run({ own, { election = "/warned/process", name = "A", log = log }, { election = "/warned/other", name = "A" } },
      function() return #lines > 0 end)
    assert.is_true(lines.with "two candidates of this process stand in /warned/process by the name A")
    assert.equal(1, #lines)
  end)

  it("names another candidate by our name, by its key", function()
    local other = assert(session:election "/warned/line")
    local term = assert(other:campaign("A", 5))
    local log, lines = new_log()
    run({ { election = "/warned/line", name = "A", log = log }, { election = "/warned/line", name = "B", log = log } },
      function() return #lines > 0 end)
    assert.same({ ("another candidate by the name A stands in /warned/line (%s): give each a name of its own"):format(
      term.key) }, { table.unpack and table.unpack(lines) or unpack(lines) })
    term:resign()
  end)

  it("says that code waits for its own lock, when it does so without a limit", function()
    local lines = {}
    local own = assert(lunarch.connect {
      endpoints = server.endpoint, log = function(level, text) lines[#lines + 1] = level .. " " .. text end,
    })
    local mine = assert(own:session { ttl = 60 })
    lunarch.run(function()
      local first, second, third = mine:mutex "/warned/own", mine:mutex "/warned/own", mine:mutex "/warned/own"
      assert(first:lock())
      assert.equal("timeout", select(3, second:lock(0.05)))
      lunarch.spawn(function()
        lunarch.sleep(0.1)
        first:unlock()
      end)
      local waiter = lunarch.spawn(function() return third:lock() and third:unlock() end)
      lunarch.sleep(0)
      assert.same({}, lines)
      assert(second:lock())
      second:unlock()
      waiter:join()
    end)
    assert.equal(1, #lines)
    assert.matches("^warn lock /warned/own: the code that waits for it has locked it itself", lines[1])
    own:close(5)
  end)
end)
