-- limit: 180 s
-- The private etcd of --dev: one for all, gone after the last, whoever dies.
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("--dev", function()
  local runtime, folder

  before_each(function()
    runtime = tree.folder()
    assert(uv.fs_chmod(runtime, 448))
    folder = nil
  end)

  after_each(process.end_all)

  local USER = [[
    local client = assert(lunarch.connect())
    assert(client:put("/dev/" .. (arg[1] or "x"), "1", nil, 10))
    print("ready " .. client.endpoints[1])
    lunarch.sleep(100)
  ]]

  local function start(text, ...)
    local command = { "lunarch", "run", script.write(text or USER), ... }
    if not (... and (...):find "^%-%-dev") then table.insert(command, 4, "--dev") end
    command.env = { XDG_RUNTIME_DIR = runtime, ETCD_NAME = "confusing", ETCD_DATA_DIR = "/nowhere" }
    return process.start(command)
  end

  -- A program that stands in for etcd.
  local function write_program(text)
    local path = runtime .. "/fake-etcd"
    local file = assert(io.open(path, "w"))
    file:write("#!/bin/sh\n", text, "\n")
    file:close()
    assert(uv.fs_chmod(path, 448))
    return path
  end

  local function ready(child)
    local endpoint = child:wait_line "^ready ".text:match "^ready (.*)"
    folder = child:find "private etcd:".text:match "etcdctl %-%-endpoints unix://(.*)/etcd:0 get %-%-prefix ''$"
    return endpoint
  end

  -- The processes that work for the private etcd: { keeper = pids, etcd = pids }.
  local function helpers()
    local found = { keeper = {}, etcd = {} }
    local scan = uv.fs_scandir "/proc"
    while true do
      local name = uv.fs_scandir_next(scan)
      if not name then break end
      local words = name:find "^%d+$" and tree.read("/proc/" .. name .. "/cmdline") or ""
      if words:find(folder, 1, true) and process.is_running(tonumber(name)) then
        local kind = words:find("--keep-etcd", 1, true) and "keeper" or words:find("--data-dir", 1, true) and "etcd"
        if kind then table.insert(found[kind], math.tointeger(tonumber(name))) end
      end
    end
    return found
  end

  local function is_all_gone()
    local found = helpers()
    return #found.keeper == 0 and #found.etcd == 0 and not uv.fs_stat(folder)
  end

  local function get(endpoint, key)
    local words = { tree.etcdctl, "--endpoints", endpoint, "get", "--print-value-only", key }
    local pipe = io.popen(tree.quote(words) .. " 2>&1")
    local text = pipe:read "a"
    pipe:close()
    return text
  end

  it("starts an etcd, and leaves nothing behind", function()
    local child = start "assert(lunarch.connect():put('/a', 'b')) print 'ready x'"
    ready(child)
    assert.equal(0, (child:wait_exit()))
    wait.eventually(is_all_gone)
    assert.is_nil(uv.fs_scandir_next(uv.fs_scandir(runtime)))
  end)

  it("gives ten first users at once the same one", function()
    local children, endpoints = {}, {}
    for i = 1, 10 do children[i] = start(nil, tostring(i)) end
    for i, child in ipairs(children) do endpoints[ready(child)] = i end
    assert.equal(1, (function(n) for _ in pairs(endpoints) do n = n + 1 end return n end)(0))
    local found = helpers()
    assert.same({ 1, 1 }, { #found.keeper, #found.etcd })
    for i = 1, 10 do assert.equal("1\n", get(next(endpoints), "/dev/" .. i)) end
    for _, child in ipairs(children) do child:signal "sigterm" end
    for _, child in ipairs(children) do child:wait_exit() end
    wait.eventually(is_all_gone)
  end)

  it("lasts as long as one user does, and survives the first", function()
    local first = start()
    local endpoint = ready(first)
    local second = start()
    assert.equal(endpoint, ready(second))
    first:kill9()
    wait.pass(0.5)
    assert.equal("1\n", get(endpoint, "/dev/x"))
    second:kill9()
    wait.eventually(is_all_gone)
  end)

  it("can be started and ended again and again", function()
    for _ = 1, 5 do
      local child = start "assert(lunarch.connect():put('/a', 'b')) print 'ready x'"
      ready(child)
      assert.equal(0, (child:wait_exit()))
    end
    wait.eventually(is_all_gone)
  end)

  it("starts etcd again on the same data when etcd is killed", function()
    local child = start()
    local endpoint = ready(child)
    local pid = helpers().etcd[1]
    process.kill9(pid)
    wait.eventually(function() return get(endpoint, "/dev/x") == "1\n" end)
    assert.truthy(helpers().etcd[1] ~= pid)
    child:kill9()
    wait.eventually(is_all_gone)
  end)

  it("gets another keeper when the keeper is killed, with the same data at the same address", function()
    local first = start()
    local endpoint = ready(first)
    local second = start()
    ready(second)
    local before = helpers()
    process.kill9(before.keeper[1])
    wait.eventually(function() return not process.is_running(before.etcd[1]) end)
    wait.eventually(function() return get(endpoint, "/dev/x") == "1\n" end)
    local after = helpers()
    assert.same({ 1, 1 }, { #after.keeper, #after.etcd })
    assert.truthy(first:find "another" or second:find "another")
    first:kill9()
    second:kill9()
    wait.eventually(is_all_gone)
  end)

  it("says what became of its keeper, and nothing else, also when it was stopped before it was killed", function()
    local child = start([[
      local client = assert(lunarch.connect())
      assert(client:put("/dev/x", "1", nil, 10))
      print("ready " .. client.endpoints[1])
      while true do
        lunarch.sleep(0.02)
        print "turns"
      end
    ]])
    ready(child)
    local keeper = helpers().keeper[1]
    process.freeze(keeper)
    process.kill9(keeper)
    local gone = child:wait_line "the keeper of the private etcd is gone: starting another"
    local started = child:wait_line "another keeper of the private etcd has started"
    assert.is_nil(child:find "EBADF")
    -- The loop went on meanwhile.
    local n_turns = 0
    for _, line in ipairs(child:find_all "^turns") do
      if line.t > gone.t and line.t < started.t then n_turns = n_turns + 1 end
    end
    assert.truthy(n_turns > 0)
    child:kill9()
    wait.eventually(is_all_gone)
  end)

  it("is taken over by the next user where everybody was killed", function()
    local child = start()
    local endpoint = ready(child)
    local found = helpers()
    child:freeze()
    process.kill9(found.keeper[1])
    child:kill9()
    assert.truthy(uv.fs_stat(folder))
    local another = start()
    assert.equal(endpoint, ready(another))
    another:kill9()
    wait.eventually(is_all_gone)
  end)

  it("serves who comes while it starts, though its starter was killed", function()
    local slow = write_program("sleep 1; exec '" .. tree.etcd .. "' \"$@\"")
    local function begin()
      local command = { "lunarch", "run", script.write(USER), "--dev" }
      command.env = { XDG_RUNTIME_DIR = runtime, ETCD = slow }
      return process.start(command)
    end
    local first = begin()
    wait.eventually(function()
      local found = io.popen("ls -d " .. runtime .. "/*/keeper 2>/dev/null")
      local text = found:read "a"
      found:close()
      return text ~= ""
    end)
    first:kill9()
    local second = begin()
    ready(second)
    second:kill9()
    wait.eventually(is_all_gone)
  end)

  it("does not let a user's killing end the keeper", function()
    local child = start()
    ready(child)
    local keeper = helpers().keeper[1]
    local stat = tree.read("/proc/" .. keeper .. "/stat")
    local session = math.tointeger(tonumber(stat:match "%) %a %d+ %d+ (%d+)"))
    assert.truthy(session ~= child.pid)
    local mine = tree.read("/proc/self/stat"):match "%) %a %d+ %d+ (%d+)"
    assert.truthy(session ~= math.tointeger(tonumber(mine)))
    child:kill9()
    wait.eventually(is_all_gone)
  end)

  it("has one etcd for each name, and they do not meet", function()
    local endpoints = {}
    for _, name in ipairs { "", "one", "two" } do
      local child = start([[
        local client = lunarch.connect()
        assert(client:put("/name", arg[1]))
        print("ready " .. client.endpoints[1])
        lunarch.sleep(100)
      ]], name ~= "" and "--dev=" .. name or "--dev", "[" .. name .. "]")
      endpoints[name] = ready(child)
    end
    for name, endpoint in pairs(endpoints) do
      assert.equal("[" .. name .. "]\n", get(endpoint, "/name"))
    end
  end)

  it("cannot be reached by other users, nor from the network", function()
    local child = start()
    local endpoint = ready(child)
    assert.equal("1\n", get(endpoint, "/dev/x"))
    for _, pid in ipairs(helpers().etcd) do
      local sockets = {}
      local scan = assert(uv.fs_scandir("/proc/" .. pid .. "/fd"))
      for name in function() return uv.fs_scandir_next(scan) end do
        local target = uv.fs_readlink(("/proc/%d/fd/%s"):format(pid, name)) or ""
        sockets[target:match "^socket:%[(%d+)%]$" or ""] = true
      end
      for _, kind in ipairs { "tcp", "tcp6", "udp", "udp6" } do
        for line in tree.read("/proc/" .. pid .. "/net/" .. kind):gmatch "[^\n]+" do
          local fields = {}
          for field in line:gmatch "%S+" do fields[#fields + 1] = field end
          assert.falsy(sockets[fields[10] or "-"], kind .. ": " .. line)
        end
      end
    end
    if uv.getuid() ~= 0 then return end
    -- The folder around it is open to others, so that its own mode is what counts.
    assert(uv.fs_chmod(runtime, 493))
    local path = endpoint:match "^unix://(.*)$"
    local _, status = process.run { "setpriv", "--reuid", "65534", "--clear-groups", "test", "-e", path }
    assert.equal(1, status)
  end)

  describe("refuses", function()
    local function refused(env, pattern, expected)
      local command = { "lunarch", "run", script.write "print 'ran'", "--dev" }
      command.env = env
      local output, status = process.run(command)
      assert.truthy(output:find(pattern), output)
      assert.equal(expected or 2, status)
      assert.falsy(output:find "ran\n")
    end

    it("a directory that is open to others", function()
      local child = start "print 'ready x'"
      ready(child)
      child:wait_exit()
      wait.eventually(is_all_gone)
      assert(uv.fs_mkdir(folder, 493))
      assert(uv.fs_chmod(folder, 493))
      refused({ XDG_RUNTIME_DIR = runtime }, "not a directory of yours alone", 1)
      assert.truthy(uv.fs_stat(folder))
    end)

    it("an etcd that is no program", function()
      refused({ XDG_RUNTIME_DIR = runtime, ETCD = "/nowhere/etcd" }, "ETCD=/nowhere/etcd is not a program")
    end)

    it("to go on without an etcd", function()
      local output, status = process.run {
        "env", "-u", "ETCD", "PATH=/nowhere", tree.program, script.write "print 'ran'", "--dev",
        env = { XDG_RUNTIME_DIR = runtime },
      }
      -- A build tree may have one of its own.
      if uv.fs_stat(tree.root .. "/build/tools/etcd") then return end
      assert.truthy(output:find "no program 'etcd' on the PATH", output)
      assert.equal(2, status)
    end)

    it("an etcd that does not start, with what it said, and leaves nothing behind", function()
      local fake = write_program "echo 'this is no etcd' >&2; exit 1"
      refused({ XDG_RUNTIME_DIR = runtime, ETCD = fake }, "does not start; the last line of its log: this is no etcd",
        1)
      assert(uv.fs_unlink(fake))
      assert.is_nil(uv.fs_scandir_next(uv.fs_scandir(runtime)))
    end)
  end)
end)
