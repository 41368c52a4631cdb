-- limit: 120 s
-- Scripts that end the program themselves while they lead: on_lost first, then the place is given up, then the status.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"

describe("a script that ends the program while it leads", function()
  local server, flags
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)
  before_each(function()
    n = n + 1
    flags = { "--endpoints", server.endpoint, "--election", "/ending/" .. n, "--name", "A", "--ttl", "30" }
  end)

  local HANDLERS = [[
    interval = 0.05
    function on_elected() print "on_elected" end
    function do_work() print "do_work" end
    function on_lost(_, reason)
      print("on_lost " .. reason)
      lunarch.sleep(0.2)
      print "on_lost returned"
    end
  ]]

  local function ended_in_order(text, reason, expected, more)
    for _, flag in ipairs(more or {}) do flags[#flags + 1] = flag end
    local child = script.start(HANDLERS .. text, flags)
    local status, signal = child:wait_exit()
    local output = child:output()
    assert.equal(1, #child:find_all "^on_elected$", output)
    local lost = child:find_all "^on_lost"
    assert.equal(2, #lost, output)
    assert.same({ "on_lost " .. reason, "on_lost returned" }, { lost[1].text, lost[2].text })
    assert.is_nil(output:find "unreachable", output)
    assert.same(expected, { status, signal }, output)
    assert.equal("", server:etcdctl("get", "--prefix", "--keys-only", "/ending/" .. n))
    return child
  end

  for where, text in pairs {
    ["on_elected"] = "function on_elected() print 'on_elected' os.exit(3) print 'unreachable' end",
    ["do_work"] = "function do_work() os.exit(3) print 'unreachable' end",
    ["a kept exit in do_work"] = "local exit = os.exit function do_work() exit(3) print 'unreachable' end",
    ["on_leader"] = "function on_leader(l) if l.is_me then os.exit(3) print 'unreachable' end end",
    ["a spawned task"] = "function do_work() lunarch.spawn(os.exit, 3) lunarch.sleep(9) end",
    ["a callback"] = [[
      function do_work()
        keep = require "luv".new_timer()
        keep:start(1, 0, function() os.exit(3) print "unreachable" end)
        lunarch.sleep(9)
      end]],
    ["a generator"] = "function do_work() coroutine.wrap(function() os.exit(3) print 'unreachable' end)() end",
  } do
    it("by os.exit in " .. where, function() ended_in_order(text, "exit", { 3, 0 }) end)
  end

  it("by os.exit in on_lost", function()
    ended_in_order([[
      local on_lost_before = on_lost
      function do_work(term) term:resign() end
      function on_lost(...) on_lost_before(...) os.exit(4) end]], "resigned", { 4, 0 })
  end)

  it("by SIGQUIT", function()
    local child = script.start(HANDLERS, flags)
    child:wait_line "do_work"
    child:signal "sigquit"
    local status, signal = child:wait_exit()
    assert.same({ 0, 3 }, { status, signal })
    assert.truthy(child:find "on_lost stopping")
    assert.truthy(child:find "on_lost returned")
  end)

  for kind, begin in pairs {
    timer = "keep = uv.new_timer() keep:start(10, 0, fail)",
    ["repeated timer"] = "keep = uv.new_timer() keep:start(10, 10, fail)",
    async = "keep = uv.new_async(fail) keep:send()",
    idle = "keep = uv.new_idle() keep:start(fail)",
    ["file system"] = "uv.fs_stat('/', fail)",
    poll = [[
      local ends = uv.pipe()
      keep = uv.new_poll(ends.read)
      keep:start("r", fail)
      uv.fs_write(ends.write, "x")]],
  } do
    it("by an error in a callback (" .. kind .. "), which the log has once, as JSON where asked for", function()
      local child = ended_in_order(([[
        local uv = require "luv"
        local function fail() error "callback failed" end
        function on_elected() print "on_elected" %s end]]):format(begin), "error", { 1, 0 }, { "--log", "json" })
      local told = child:find_all "callback failed"
      assert.equal(1, #told)
      assert.matches('^{.*"level":"error".*a callback failed: .*script.lua:%d+: callback failed.*}$', told[1].text)
    end)
  end

  it("by an error in a callback without candidates", function()
    local output, status = script.run [[
      keep = require "luv".new_timer()
      keep:start(10, 0, function() error "callback failed" end)
      lunarch.sleep(10)]]
    assert.equal(1, status)
    assert.matches("ERROR a callback failed: %S*script.lua:2: callback failed", output)
  end)
end)

describe("a script", function()
  after_each(process.end_all)

  it("whose spawned task fails is told so once", function()
    local output, status = script.run "lunarch.spawn(function() error 'unseen' end) lunarch.sleep(0.1) print 'went on'"
    assert.equal(1, status)
    assert.equal(1, select(2, output:gsub("unseen", "")), output)
    assert.truthy(output:find "went on")
  end)

  -- As the examples of luv do at their end.
  it("that closes all handles of luv's there are is not aborted", function()
    local output, status = script.run [[
      print "begins"
      require "luv".walk(function(handle)
        if not handle:is_closing() then handle:close() end
      end)]]
    assert.same({ "begins\n", 0 }, { output, status })
  end)

  it("may call lunarch.run", function()
    local output, status = script.run [[
      print(lunarch.run(function(...)
        lunarch.spawn(function() lunarch.sleep(0.05) print "spawned" end)
        return ...
      end, 1, 2))]]
    assert.same({ "spawned\n1\t2\n", 0 }, { output, status })
  end)
end)
