-- What the prover has found, and what it must find: each mutant breaks the core again, and the seed that caught it
-- last time, or the unit test that tells its story, catches it now. The same seeds hold on the core as it is
-- (spec/unit/sim/sim_prove_test.c).

local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"

local build = os.getenv "LUNARCH_BUILD"
local root = os.getenv "LUNARCH_ROOT"

describe("the prover", function()
  local seeds, said = {}, {}

  for line in assert(io.open(root .. "/spec/seeds/known_seeds")):lines() do
    local name, seed, by = line:match "^([%w_]+) (%w+) ([%w_]+)"
    if name then seeds[name] = { seed = tonumber(seed) and "seed " .. seed or seed, by = by } end
  end

  if not build:find "/dev$" then
    return pending("breaks the core in the plain build alone")
  end

  setup(function()
    local pipe = assert(io.popen(("cd '%s' && sh spec/seeds/mutants.sh --known 2>&1"):format(root)))
    for line in pipe:lines() do
      local name = line:match "^%a+  ([%w_]+)"
      if name then said[name] = line end
    end
    pipe:close()
  end)

  local names = {}
  for name in assert(io.popen(("ls '%s/spec/seeds/mutants'"):format(root))):lines() do
    names[#names + 1] = name:match "^(.*)%.patch$"
  end
  for _, name in ipairs(names) do
    it("catches " .. name, function()
      assert(seeds[name], "what catches it is not known: ./dev prove --mutants --record")
      local expected = ("caught  %s: %s %s:"):format(name, seeds[name].seed, seeds[name].by)
      assert.are.equal(expected, (said[name] or "said nothing of it"):sub(1, #expected))
    end)
  end

  it("catches them in a folder whose name has a space too", function()
    local folder = tree.folder() .. "/a tree"
    assert(uv.fs_symlink(root, folder))
    local output = process.run {
      "sh", folder .. "/spec/seeds/mutants.sh", "--known", "try_waits_in_line",
      env = { LUNARCH_ROOT = folder, LUNARCH_BUILD = folder .. "/build/dev" }, limit = 60,
    }
    assert.matches("1 caught, 0 not", output, 1, true)
  end)
end)
