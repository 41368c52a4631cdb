-- limit: 180 s
-- What a candidate writes and nobody reads: it holds up neither the work, nor a signal, nor the end.
local etcd = require "support.etcd"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local uv = require "luv"
local vm = require "support.vm"
local wait = require "support.wait"

-- More than a pipe, a socket or a terminal takes, and the queue of the output beside it.
local LOTS_BYTES = 2000000
local LINE = ("x"):rep(99)

describe("an output that nobody reads", function()
  local server, marks
  local n = 0

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)
  after_each(process.end_all)

  before_each(function()
    n = n + 1
    marks = tree.folder() .. "/marks"
  end)

  local function marked(text)
    return tree.read(marks):find(text, 1, true)
  end

  -- A candidate that writes by `writer(line)` until it is stopped, and tells in the file of marks what it does.
  local function candidate_text(writer)
    return ([[
      local file = io.open(%q, "w")
      local function mark(text) file:write(text, "\n") file:flush() end
      local function writer(line) %s end
      local line, bytes, is_marked = %q, 0, false
      function do_work()
        for _ = 1, 100 do writer(line) end
        bytes = bytes + 100 * (#line + 1)
        if bytes > %d and not is_marked then mark("written") is_marked = true end
        return 0.001
      end
      function on_lost(_, reason) mark("on_lost " .. reason) end
    ]]):format(marks, writer, LINE, LOTS_BYTES)
  end

  local function command_of(text, ...)
    return {
      tree.program, script.write(text), "--endpoints", server.endpoint, "--election", "/output/" .. n,
      "--ttl", "5", ...,
    }
  end

  local function has_place()
    return server:etcdctl("get", "--prefix", "--keys-only", "/output/" .. n) ~= ""
  end

  -- Starts a command with these descriptors. child.pid, child.status and child.signal once it has ended.
  local function start(command, out, err, env)
    local child = {}
    child.handle, child.pid = uv.spawn("setpriv", {
      args = { "--pdeathsig", "KILL", table.unpack(command) }, stdio = { nil, out, err },
      env = tree.environment(env),
    }, function(status, signal)
      child.status, child.signal = status, signal
      child.handle:close()
    end)
    assert(child.handle, child.pid)
    function child:is_running() return not self.status end
    function child:kill9() if not self.status then uv.kill(self.pid, "sigkill") end end
    return child
  end

  -- A plain VM takes the sanitizers by hand, as in support/process.lua.
  local function plain(path)
    local preload = os.getenv "LUNARCH_PRELOAD"
    if not preload then return { vm.program, path } end
    return { "env", "LD_PRELOAD=" .. preload, vm.program, path }
  end

  local function ends_in_order(child)
    uv.kill(child.pid, "sigterm")
    wait.eventually(function() return child.status end, nil, "the program to end")
    assert.same({ 0, 0 }, { child.status, child.signal })
    assert.truthy(marked "on_lost stopping")
    assert.is_false(has_place())
  end

  local WRITERS = {
    { "log.info(line)", "err" }, { "io.stderr:write(line, '\\n')", "err" }, { "print(line)", "out" },
    { "io.write(line, '\\n')", "out" }, { "io.stdout:write(line, '\\n')", "out" },
    { "log.error(line) print(line)", "both" },
  }

  local function stdio_of(which, fd)
    return which ~= "err" and fd or nil, which ~= "out" and fd or nil
  end

  for _, writer in ipairs(WRITERS) do
    for kind, open in pairs { pipe = uv.pipe, socket = function()
      local ends = uv.socketpair()
      return { read = ends[1], write = ends[2] }
    end } do
      it(("does not stop a leader that writes by %s to a %s"):format(writer[1], kind), function()
        local ends = open()
        local child = start(command_of(candidate_text(writer[1])), stdio_of(writer[2], ends.write))
        wait.eventually(function() return marked "written" end, nil, "the work to go on")
        ends_in_order(child)
        uv.fs_close(ends.read)
        uv.fs_close(ends.write)
      end)
    end
  end

  it("may be a terminal that stands still", function()
    local words = tree.quote(command_of(candidate_text "log.info(line) print(line)"))
    local holder = process.start { "script", "-q", "-c", "echo $$ >'" .. marks .. ".pid'; exec " .. words, "/dev/null" }
    wait.eventually(function() return marked "on_lost" or tree.read(marks .. ".pid") ~= "" end)
    process.freeze(holder.pid)
    wait.eventually(function() return marked "written" end, nil, "the work to go on")
    local pid = math.tointeger(tonumber((tree.read(marks .. ".pid"):gsub("%s", ""))))
    uv.kill(pid, "sigterm")
    wait.eventually(function() return marked "on_lost stopping" and not process.is_running(pid) end)
    assert.is_false(has_place())
  end)

  it("gets the lines that there was room for, and then how many were dropped", function()
    local ends = uv.pipe()
    local child = start(command_of(([[
      local file = io.open(%q, "w")
      function on_elected()
        for i = 1, 20000 do log.info(%q) end
        file:write("written\n")
        file:flush()
      end
      function on_lost(_, reason) file:write("on_lost ", reason) end
    ]]):format(marks, LINE), "--log", "json"), nil, ends.write)
    uv.fs_close(ends.write)
    wait.eventually(function() return marked "written" end)
    local rest, whole, dropped = "", 0, nil
    while not dropped do
      local data = assert(uv.fs_read(ends.read, 65536))
      assert.truthy(data ~= "", "the program has ended")
      rest = rest .. data
      for line in rest:gmatch "([^\n]*)\n" do
        local entry = require "cjson".decode(line)
        if entry.message == LINE then whole = whole + 1 end
        dropped = dropped or entry.message:match "^(%d+) lines dropped: the reader of stderr was too slow$"
      end
      rest = rest:match "[^\n]*$"
    end
    assert.equal(20000, whole + math.tointeger(tonumber(dropped)))
    ends_in_order(child)
    uv.fs_close(ends.read)
  end)

  it("does not silence or stop the watchdog", function()
    local ends = uv.pipe()
    local text = candidate_text "log.info(line)" .. [[
      local work = do_work
      function do_work()
        for _ = 1, 300 do work() end
        mark "busy"
        os.execute "sleep 4"
        return 100
      end
    ]]
    local child = start(command_of((text:gsub("local function mark", "function mark")), "--ttl", "1"), nil, ends.write)
    wait.eventually(function() return marked "busy" end)
    wait.pass(3.5)
    ends_in_order(child)
    uv.fs_close(ends.read)
    uv.fs_close(ends.write)
  end)

  it("does not stop a leader with LUNARCH_TRACE=1", function()
    local ends = uv.pipe()
    local text = candidate_text "lunarch.spawn(function() client:get(line) end)" .. [[
      client = lunarch.connect()
      local work = do_work
      function do_work() work() lunarch.sleep(0.02) return 0 end
    ]]
    local child = start(command_of(text), nil, ends.write, { LUNARCH_TRACE = "1" })
    wait.eventually(function() return marked "written" end, nil, "the work to go on")
    ends_in_order(child)
    uv.fs_close(ends.read)
    uv.fs_close(ends.write)
  end)

  it("does not hold up a plain program by what the module says", function()
    local ends = uv.pipe()
    local path = script.write(([[
      local lunarch = require "lunarch"
      local say = require "lunarch.internal.say"
      for _ = 1, %d do say.line(%q) end
      local client = assert(lunarch.connect { endpoints = %q })
      assert(client:put("/output/plain/%d", "done", nil, 20))
      client:close()
    ]]):format(LOTS_BYTES // 100, LINE, server.endpoint, n))
    local child = start(plain(path), nil, ends.write)
    wait.eventually(function() return child.status end, nil, "the program to end")
    assert.same({ 0, 0 }, { child.status, child.signal })
    uv.fs_close(ends.read)
    uv.fs_close(ends.write)
  end)

  describe("and has lost its reader", function()
    it("does not end a leader, nor a plain program by what the module says", function()
      for _, which in ipairs { "out", "err", "both" } do
        local ends = uv.pipe()
        uv.fs_close(ends.read)
        os.remove(marks)
        local child = start(command_of(candidate_text "print(line) log.info(line)"), stdio_of(which, ends.write))
        wait.eventually(function() return marked "written" end)
        ends_in_order(child)
        uv.fs_close(ends.write)
      end
      local ends = uv.pipe()
      uv.fs_close(ends.read)
      local text = "require 'lunarch' require 'lunarch.internal.say'.line 'x'"
      local child = start(plain(script.write(text)), nil, ends.write)
      wait.eventually(function() return child.status end)
      assert.same({ 0, 0 }, { child.status, child.signal })
      uv.fs_close(ends.write)
    end)

    it("ends an ordinary program, as it ends lua5.4", function()
      for _, program in ipairs { tree.program, "lua5.4" } do
        local ends = uv.pipe()
        uv.fs_close(ends.read)
        local child = start({ program, script.write "for _ = 1, 100000 do print 'y' end" }, ends.write)
        wait.eventually(function() return child.status end)
        assert.equal(13, child.signal)
        uv.fs_close(ends.write)
      end
    end)
  end)

  it("may be a full disk", function()
    local full = assert(uv.fs_open("/dev/full", "w", 0))
    local child = start(command_of(candidate_text "print(line) log.info(line)"), full, full)
    wait.eventually(function() return marked "written" end)
    ends_in_order(child)
    uv.fs_close(full)
  end)

  it("is waited for by an ordinary program, until a signal comes", function()
    local ends = uv.pipe()
    local path = script.write "for i = 1, 100000 do print(i) end"
    local child = start({ tree.program, path }, ends.write)
    wait.pass(0.5)
    local parts = {}
    uv.fs_close(ends.write)
    repeat
      parts[#parts + 1] = uv.fs_read(ends.read, 65536)
    until parts[#parts] == ""
    wait.eventually(function() return child.status end)
    local _, n_lines = table.concat(parts):gsub("\n", "")
    assert.equal(100000, n_lines)
    uv.fs_close(ends.read)

    -- Also once it has ended but for what it has printed.
    ends = uv.pipe()
    path = script.write "for i = 1, 30000 do print(i) end"
    child = start({ tree.program, path }, ends.write)
    uv.fs_close(ends.write)
    wait.pass(2.5)
    assert.is_true(child:is_running())
    parts = {}
    repeat
      parts[#parts + 1] = uv.fs_read(ends.read, 65536)
    until parts[#parts] == ""
    _, n_lines = table.concat(parts):gsub("\n", "")
    assert.equal(30000, n_lines)
    wait.eventually(function() return child.status end)
    assert.equal(0, child.status)
    uv.fs_close(ends.read)

    ends = uv.pipe()
    path = script.write "while true do print(('y'):rep(1000)) lunarch.sleep(0.0001) end"
    child = start({ tree.program, path }, ends.write)
    wait.pass(1)
    uv.kill(child.pid, "sigterm")
    wait.eventually(function() return child.status end)
    assert.equal(143, child.status)
    uv.fs_close(ends.read)
    uv.fs_close(ends.write)
  end)

  it("is left as it is for others that share it", function()
    local ends = uv.pipe()
    local child = start({
      "sh", "-c", "\"$@\" && sed -n 's/^flags:[[:space:]]*//p' /proc/self/fdinfo/1", "-", tree.program,
      script.write "print 'one' log.info 'two' lunarch.candidate { election = '/x', on_elected = print } print 'three'",
    }, ends.write)
    wait.eventually(function() return child.status end)
    local flags = uv.fs_read(ends.read, 4096):match "(%d+)\n$"
    assert.equal(0, tonumber(flags, 8) & 2048)
    uv.fs_close(ends.read)
    uv.fs_close(ends.write)
  end)
end)
