-- The program where the system gives it little: it says what is missing, with the status that a unit does not start it
-- again for, or it does what it can; it neither aborts nor hangs.
-- needs: network
local etcd = require "support.etcd"
local script = require "host.script"
local tree = require "support.tree"
local uv = require "luv"
local vm = require "support.vm"

local ONCE = "election = '/limits' function do_work() print 'works' os.exit(0) end"

describe("a program that has", function()
  local server

  setup(function() server = etcd.start() end)
  teardown(function() server:stop() end)

  -- What it says behind `limits` (of bash), and its status; one that hangs is ended after 60 s, with another status.
  local function run(limits, words, prefix)
    local inner = ("%s; exec timeout -k 1 60 %s"):format(limits, tree.quote(words))
    local output = vm.shell(("%s bash -c %s 2>&1 </dev/null; echo status $?"):format(prefix or "",
      tree.quote { inner }))
    local said, status = output:match "^(.*)status (%d+)%s*$"
    return said, tonumber(status)
  end

  local function candidate(...)
    return { tree.program, "run", script.write(ONCE), "--endpoints", server.endpoint, ... }
  end

  it("too few descriptors for anything says so, whatever it is asked for", function()
    for _, words in ipairs {
      candidate(), candidate("--listen", "127.0.0.1:0"), { tree.program, "list", "--endpoints", server.endpoint },
      { tree.program, "run", script.write(ONCE), "--dev=limits" }, { tree.program, "console", "--lab" },
    } do
      for _, n in ipairs { 5, 6, 8, 10, 12, 16 } do
        local output, status = run("ulimit -n " .. n, words)
        assert.matches("^lunarch: too few file descriptors: .*ulimit %-n[^\n]*\n$", output)
        assert.equal(2, status)
      end
    end
  end)

  it("too few descriptors for anything says so as JSON where asked for", function()
    for _, flag in ipairs { "--log=json", "--log json" } do
      local words = candidate()
      for word in flag:gmatch "%S+" do words[#words + 1] = word end
      local output, status = run("ulimit -n 5", words)
      assert.equal("error", require "cjson".decode(output).level)
      assert.matches("^too few file descriptors: ", require "cjson".decode(output).message)
      assert.equal(2, status)
    end
  end)

  it("too little memory for the threads of gRPC says so, or leads", function()
    for _, kb in ipairs { 60000, 120000, 160000, 200000, 240000, 280000, 400000 } do
      local output, status = run("ulimit -v " .. kb, candidate())
      if status == 0 then
        assert.matches("works\n", output)
      else
        assert.equal(2, status, output)
        assert.matches("too few threads: .*ulimit %-v", output)
      end
    end
  end)

  it("no thread to write by says so all the same", function()
    if not vm.shell("id -u"):match "^0" then return pending "only root can become a user without processes" end
    local prefix = ("setpriv --reuid %d --clear-groups env HOME=/tmp"):format(200000 + uv.os_getpid())
    if not select(2, vm.shell(prefix .. " test -r " .. tree.quote { tree.root } .. "/README.md")) then
      return pending "another user cannot read this tree"
    end
    -- The pipe is another user's; the limit leaves room for `timeout` alone.
    local path = os.tmpname()
    tree.write(path, ONCE)
    assert(uv.fs_chmod(path, 420))
    local output, status = run("ulimit -u 2", { tree.program, "run", path, "--endpoints", server.endpoint }, prefix)
    os.remove(path)
    assert.matches("too few threads: .*ulimit %-u", output)
    assert.equal(2, status)
  end)

  it("a log that may not grow goes on leading", function()
    local folder = tree.folder()
    local text = ONCE:gsub("os.exit", "local file = io.open(arg[1], 'w') file:close() os.exit")
    local words = { tree.program, "run", script.write(text), "--endpoints", server.endpoint, "--", folder .. "/worked" }
    local _, status = run("ulimit -f 0; exec >" .. folder .. "/out 2>&1", words)
    assert.equal(0, status)
    assert.truthy(uv.fs_stat(folder .. "/worked"))
  end)

  it("no room for what it prints says so once, and fails", function()
    for _, words in ipairs {
      { "list", "--endpoints", server.endpoint }, { "status", "/none", "--endpoints", server.endpoint },
      { "explain", "/none", "--endpoints", server.endpoint }, { "version" }, { "help" },
      { "run", "--help" }, { "check", "--help" },
    } do
      local output, status = run("exec 3>&1 >/dev/full 2>&3", { tree.program, table.unpack(words) })
      assert.equal(1, status, words[1])
      assert.matches("lunarch: cannot write to stdout[^\n]*\n$", output)
      assert.is_true(select(2, output:gsub("\n", "")) <= 2, output)
    end
  end)

  it("closed what libuv has still to report ends as it would have ended", function()
    for _, text in ipairs {
      "require('luv').new_timer():close()", "require('luv').new_timer():close() os.exit(0)",
      "local t = require('luv').new_timer() t:start(9000, 0, print) t:close()",
    } do
      local output, status = run(":", { tree.program, "run", script.write(text) })
      assert.equal(0, status, output)
      assert.equal("", output)
    end
  end)

  -- In a network name space where loopback has such addresses only, `words`.
  local function alone(set_up, words)
    return run(":", words, "unshare -n sh -c " .. tree.quote { set_up .. ' && exec "$@"' } .. " x")
  end

  it("no IPv4 listens at loopback all the same, and a lab says what it lacks", function()
    local six = "ip link set lo up && ip addr del 127.0.0.1/8 dev lo"
    local path = script.write "print 'runs'"
    local output, status = alone(six, { tree.program, "run", path, "--listen", "0" })
    if output:find "unshare:" or output:find "ip:" or output:find "RTNETLINK" then
      return pending "not possible here: no network name spaces, or no iproute2"
    end
    assert.matches("listens at http://%[::1%]:%d+", output)
    assert.matches("runs\n", output)
    assert.equal(0, status)
    output, status = alone(six, { tree.program, "console", "--lab" })
    assert.equal("lunarch: a lab's members need 127.0.0.1: no interface has it (ip link set lo up)\n", output)
    assert.equal(2, status)
  end)

  it("no /proc finds its files by the name it was started by", function()
    local output, status = run(":", candidate(), "unshare -m sh -c 'umount -l /proc && exec \"$@\"' x")
    if output:find "unshare:" or output:find "umount:" then return pending "not possible here: no mount namespaces" end
    assert.matches("works\n", output)
    assert.equal(0, status)
  end)
end)
