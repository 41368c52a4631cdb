-- may_stand and health of scripts, in real processes: an unfit leader makes room at once, an unfit candidate stays out.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"

-- The file whose name the script is given says how it is.
local HANDLERS = [[
  health_interval, health_failures = 0.1, 2
  local function read()
    local file = io.open(arg[1])
    local text = file and file:read "a" or ""
    if file then file:close() end
    return text
  end
  function health()
    local state = read()
    if state == "hangs" then lunarch.sleep(1000) end
    if state == "broken" then error "broken" end
    return state == "well" or state == "barred", state
  end
  function may_stand() return read() ~= "barred", "barred" end
  function on_elected() print "on_elected" end
  function do_work() return 0.05 end
  function on_lost(_, reason) print("on_lost " .. reason) end
]]

describe("a script with health", function()
  local server
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  before_each(function() n = n + 1 end)
  after_each(process.end_all)

  local function candidate(name, state, text)
    local path = tree.folder() .. "/state"
    local function set(state_now)
      local file = assert(io.open(path .. ".new", "w"))
      file:write(state_now)
      file:close()
      assert(os.rename(path .. ".new", path))
    end
    set(state)
    local child = script.start(text or HANDLERS, {
      "--endpoints", server.endpoint, "--election", "/health/" .. n, "--ttl", "60", "--name", name, "--", path,
    })
    return child, set
  end

  local function hands_over(state)
    local first, set = candidate("A", "well")
    first:wait_line "^on_elected"
    local second = candidate("B", "well")
    second:wait_line "stands in"
    set(state)
    first:wait_line "^on_lost unhealthy"
    second:wait_line "^on_elected"
    return first, set, second
  end

  it("steps down long before its TTL when it says no, and stands again once it is well", function()
    local first, set, second = hands_over "sick"
    first:wait_line "does not stand in /health/%d+: health says no: sick"
    set "well"
    first:wait_line "stands again in"
    second:signal "sigterm"
    second:wait_line "^on_lost stopping"
    first:wait_line "^on_elected"
  end)

  it("steps down when it fails", function()
    local first = hands_over "broken"
    assert.truthy(first:output():find("health failed: .-script.lua:%d+: broken"))
  end)

  it("steps down when it hangs", function()
    local first = hands_over "hangs"
    assert.truthy(first:output():find("health has not answered within 0.1 s", 1, true))
    first:signal "sigterm"
    assert.equal(0, first:wait_exit())
  end)

  it("stays out of the line while may_stand or health says no, and says so once", function()
    local first, set = candidate("A", "sick")
    first:wait_line "does not stand in .*: health says no: sick"
    set "barred"
    first:wait_line "barred"
    local second = candidate("B", "well")
    second:wait_line "^on_elected"
    local values = server:etcdctl("get", "--prefix", "--print-value-only", "/health/" .. n .. "/")
    assert.equal("B", (values:gsub("%s", "")))
    set "well"
    first:wait_line "stands again in"
    local _, times = first:output():gsub("does not stand", "")
    assert.is_true(times <= 2)
  end)

  it("may be a command, whose exit status and last words count, and which is ended when it hangs", function()
    local text = [[
      health_interval, health_failures, health_timeout = 0.1, 2, 0.5
      health = { "sh", "-c", [=[case $(cat "$0") in
        well) ;; hangs) exec sleep 1000 ;; *) echo "it is ill" >&2; exit 3 ;;
      esac]=], arg[1] }
      function on_elected() print "on_elected" end
      function on_lost(_, reason) print("on_lost " .. reason) end
    ]]
    local first, set = candidate("A", "well", text)
    first:wait_line "^on_elected"
    set "ill"
    first:wait_line "does not stand in .*: it is ill %(exit status 3%)"
    set "well"
    first:wait_line "stands again"
    set "hangs"
    first:wait_line "steps down: .*0%.[45]"
    for _, value in ipairs { "{}", "3", "'true'" } do
      local output, status = script.run("election = '/e' health = " .. value .. " function do_work() end", {
        "--endpoints", server.endpoint,
      })
      assert.equal(2, status)
      assert.matches("'health' must be a function, or a command", output)
    end
  end)

  it("refuses an interval of 0 on the command line, and names a check that is misspelt", function()
    local text, status = script.run("election = '/e' function do_work() end", { "--health-interval", "0" })
    assert.equal(2, status)
    assert.matches("%-%-health%-interval: .*above 0", text)
    text, status = script.run("election = '/e' function do_work() end function mayStand() end", {
      "--endpoints", server.endpoint,
    })
    assert.equal(2, status)
    assert.matches("did you mean 'may_stand'", text)
  end)

  it("is not asked any more once the program is being stopped", function()
    local child = script.start([[
      health_interval = 0.05
      local function check(name) print(name) return true end
      function health() return check "health" end
      function may_stand() return check "may_stand" end
      function on_elected() print "on_elected" end
      function on_lost() print "on_lost" lunarch.sleep(0.5) print "is lost" end
    ]], { "--endpoints", server.endpoint, "--election", "/health/stop/" .. n, "--ttl", "5" })
    child:wait_line "^on_elected"
    child:wait_line "^health"
    child:signal "sigterm"
    assert.equal(0, (child:wait_exit()))
    local is_lost = false
    for _, line in ipairs(child:lines()) do
      assert.falsy(is_lost and (line.text == "health" or line.text == "may_stand"), line.text .. " was asked")
      is_lost = is_lost or line.text == "on_lost"
    end
    assert.is_true(is_lost)
  end)
end)
