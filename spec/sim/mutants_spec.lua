-- That the simulator looks for what it should: each mutant breaks the driver of handlers, and the verdict names it.
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local uv = require "luv"

local ORDERLY = [[
  election, ttl = "/e", 3
  function on_elected(term) assert(term:put("/elected", term.value)) end
  function do_work()
    if math.random(60) == 1 then os.exit(3) end
    lunarch.sleep(0.2)
    return 0.2
  end
  function on_lost() lunarch.sleep(0.05) end
  function on_leader(leader) if math.random(200) == 1 then os.exit(4) end end
]]

local MUTANTS = {
  leader_told_at_once = "on_leader%(.+%) before o",
  no_on_lost_at_an_exit = "the program ended without on_lost, after on_elected",
  no_on_lost_where_on_elected_failed = "on_lost", -- without it, or another leader before it
  work_without_the_clock = "is called after the end of its term",
}

-- Of hand-overs, by the script of requests_spec.lua.
local OF_REQUESTS = {
  nobody_steps_aside = "was elected",
  pause_within_a_switchover = "", -- nobody leads, or another than was named
  absent_candidate_replaced = "does not stand",
}

describe("the simulator", function()
  -- An installation of our own, whose Lua can be changed.
  local function installed()
    local prefix = tree.folder()
    local function run(command)
      local output, status = process.run(command)
      assert(status == 0, output)
    end
    run { "mkdir", "-p", prefix .. "/bin", prefix .. "/share/lua/5.4" }
    run { "cp", tree.program, prefix .. "/bin" }
    assert(uv.fs_symlink(tree.build .. "/lib", prefix .. "/lib"))
    run({ "cp", "-rL", tree.build .. "/share/lua/5.4/lunarch", prefix .. "/share/lua/5.4" })
    return prefix
  end

  local function simulate(prefix, ...)
    local path = (...) and tree.root .. "/spec/sim/requests.lua" or script.write(ORDERLY)
    local child = process.start { prefix .. "/bin/lunarch", "sim", path, "--seeds", "1..100", ... }
    local status, text = child:wait_exit(), {}
    for _, line in ipairs(child:lines()) do
      text[#text + 1] = line.text
    end
    return status, table.concat(text, "\n")
  end

  it("finds nothing wrong with handlers that end the process, fail, and are slow", function()
    local status, text = simulate(installed())
    assert.equal(0, status, text)
  end)

  local function broken_by(name)
    local prefix = installed()
    local patch = tree.root .. "/spec/sim/mutants/" .. name .. ".patch"
    local output, is_refused = process.run {
      "patch", "-s", "-F0", "-p2", "-d", prefix .. "/share/lua/5.4", "-i", patch,
    }
    assert.equal(0, is_refused, output)
    return prefix
  end

  for name, verdict in pairs(OF_REQUESTS) do
    it("catches " .. name, function()
      local status, text = simulate(broken_by(name), "--faults", "none", "quiet")
      assert.equal(1, status, text)
      assert.matches("seed %d+, after .* s: check: .*" .. verdict, text)
    end)
  end

  for name, verdict in pairs(MUTANTS) do
    it("catches " .. name, function()
      local status, text = simulate(broken_by(name))
      assert.equal(1, status, text)
      assert.matches("lunarch broke its word: .*" .. verdict, text)
    end)
  end
end)
