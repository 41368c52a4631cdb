-- limit: 120 s
-- clusters: plain mtls
-- ./dev demo: what a newcomer sees first; and the same on an etcd of one's own.
local etcd = require "support.etcd"
local process = require "support.process"
local secured = require "support.secured"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("the demo", function()
  local runtime, server

  setup(function() server = secured.is_wanted() and etcd.start() end)
  teardown(function() if server then server:stop() end end)

  before_each(function()
    runtime = tree.folder()
    assert(uv.fs_chmod(runtime, 448))
  end)

  after_each(process.end_all)

  local function start()
    local words = { "lua5.4", tree.root .. "/examples/demo.lua", env = { XDG_RUNTIME_DIR = runtime } }
    if server then
      words[3], words[4] = "--endpoints", server.endpoint
    end
    return process.start(words)
  end

  local function is_nothing_left()
    -- To its end: luv frees a scan only then.
    local n = 0
    local scan = uv.fs_scandir(runtime)
    while uv.fs_scandir_next(scan) do
      n = n + 1
    end
    return n == 0
  end

  -- Processes that were started with our private XDG_RUNTIME_DIR.
  local function survivors()
    local n = 0
    local scan = uv.fs_scandir "/proc"
    while true do
      local name = uv.fs_scandir_next(scan)
      if not name then return n end
      local environment = name:find "^%d+$" and tree.read("/proc/" .. name .. "/environ") or ""
      if environment:find(runtime, 1, true) and process.is_running(tonumber(name)) then n = n + 1 end
    end
  end

  it("shows two failovers with their times, and ends by itself", function()
    local demo = start()
    local status = demo:wait_exit(2 * wait.LIMIT)
    local output = demo:output()
    assert.equal(0, status, output)
    local first, second = output:match "(%u) took over from (%u) after %d+ ms: it was handed"
    assert.truthy(first and first ~= second, output)
    local third, killed = output:match "(%u) took over from (%u) after %d+ ms\n"
    assert.equal(first, killed)
    assert.truthy(third ~= first and third ~= second)
    assert.is_true(is_nothing_left())
    -- The keeper of the private etcd ends just after its folder is gone.
    wait.eventually(function() return survivors() == 0 end)
  end)

  it("leaves nothing behind when it is interrupted", function()
    local demo = start()
    demo:wait_line "working"
    demo:signal "sigint"
    assert.equal(130, (demo:wait_exit()))
    assert.is_true(is_nothing_left())
    -- The keeper of the private etcd ends just after its folder is gone.
    wait.eventually(function() return survivors() == 0 end)
  end)

  it("leaves nothing behind when it is killed", function()
    local demo = start()
    demo:wait_line "working"
    demo:kill9()
    wait.eventually(function() return is_nothing_left() and survivors() == 0 end)
  end)
end)
