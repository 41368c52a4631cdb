-- limit: 600 s
-- Senseless arguments in every world: no crash, no call beyond its limit, no leak (under --asan: of memory too), and no
-- error that shows a line of ours. A longer run: ./dev soak fuzz. A seed repeats a run.
local etcd = require "support.etcd"
local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"
local watched = require "fuzz.watched"

-- A minute in all under the sanitizers.
local CALLS = math.tointeger(tonumber(os.getenv "LUNARCH_CALLS")) or tree.is_sanitized and 4000 or 2000

describe("calls with senseless arguments", function()
  local server, seed

  setup(function()
    server = etcd.start()
    -- The plain suite is the same every time; chance is for the sanitizers and for ./dev soak fuzz.
    local chance = tree.is_sanitized and uv.hrtime() // 1000 % 1000000000 or 1
    seed = math.tointeger(tonumber(os.getenv "LUNARCH_SEED")) or chance
  end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  for _, world in ipairs(watched.WORLDS) do
    it("return or raise in the world " .. world, function()
      local findings, last = watched.run(world, server, seed, CALLS, wait.LIMIT)
      print(world .. ": " .. last)
      assert.equal("", findings, watched.again(world, seed, CALLS))
    end)
  end
end)
