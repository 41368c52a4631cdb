-- limit: 120 s
-- A lab that is killed leaves nothing behind, and what is done at its prompt holds up nobody but the prompt.
local process = require "support.process"
local terminal = require "support.terminal"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

describe("a lab", function()
  local own = tree.folder()

  after_each(function()
    terminal.end_all()
    process.end_all()
  end)

  local function start()
    local t = terminal.start({ "lunarch", "console", "--lab" }, { env = { ETCD = tree.etcd, TMPDIR = own } })
    t:wait "^lab> ?$"
    return t
  end

  -- The processes that were started by `pid`, their children too.
  local function children_of(pid, list)
    list = list or {}
    local file = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
    for child in (file and file:read "a" or ""):gmatch "%d+" do
      list[#list + 1] = math.tointeger(tonumber(child))
      children_of(list[#list], list)
    end
    if file then file:close() end
    return list
  end

  local function is_alive(pid)
    local file = io.open(("/proc/%d/stat"):format(pid))
    local state = file and file:read("a"):match "%) (%a)"
    if file then file:close() end
    return state ~= nil and state ~= "Z"
  end

  -- Of the members of etcd among these processes.
  local function folder_of(pids)
    for _, pid in ipairs(pids) do
      local file = io.open(("/proc/%d/cmdline"):format(pid))
      local folder = file and file:read("a"):match "%-%-data%-dir%z(.-)/m1%z"
      if file then file:close() end
      if folder then return folder end
    end
  end

  -- An etcd that ends by itself the first `n` times, as where its port was taken meanwhile.
  local function failing_etcd(n)
    local path = ("%s/etcd-%d"):format(own, n)
    local file = assert(io.open(path, "w"))
    file:write(([[#!/bin/sh
for i in $(seq %d); do
  mkdir %s/fails-%d-$i 2>/dev/null && exit 1
done
exec %s "$@"
]]):format(n, own, n, tree.etcd))
    file:close()
    assert(uv.fs_chmod(path, 448))
    return path
  end

  local function members_with(etcd)
    local child = process.start { "lunarch", "console", "--lab", env = { ETCD = etcd, TMPDIR = own }, stdin = true }
    child:write "print(#members())\n"
    child:close_stdin()
    return child:wait_exit(), child
  end

  it("begins again on other ports where a member ends before it serves", function()
    local status, child = members_with(failing_etcd(1))
    assert.equal(0, status, child:output())
    assert.truthy(child:find "^3$", child:output())
  end)

  it("says so where members end whatever the ports are", function()
    local status, child = members_with(failing_etcd(99))
    assert.equal(2, status)
    assert.truthy(child:find "etcd m%d ends by itself", child:output())
  end)

  it("says at once that there is no loopback", function()
    local output, status = process.run {
      "unshare", "-n", tree.program, "lab", tree.root .. "/examples/lab/stop.lua",
      env = { ETCD = tree.etcd, TMPDIR = own },
    }
    if output:find "^unshare:" then return pending "no network namespace may be made here" end
    assert.matches("a lab's members need 127.0.0.1: no interface has it", output)
    assert.equal(2, status)
  end)

  it("that is killed leaves no process, and what is in its folder goes when the next one begins", function()
    local t = start()
    t:enter("a = candidate('/s', 'A') run(1)", "lab> ?$")
    local pids = children_of(t:pid())
    assert.equal(5, #pids) -- three members, a candidate, the proxies
    local folder = assert(folder_of(pids))
    uv.kill(t:pid(), "sigkill")
    wait.eventually(function()
      for _, pid in ipairs(pids) do
        if is_alive(pid) then return false end
      end
      return true
    end)
    assert.truthy(uv.fs_stat(folder))
    local living = start()
    assert.falsy(uv.fs_stat(folder))
    local its = assert(folder_of(children_of(living:pid())))
    local other = start()
    assert.truthy(uv.fs_stat(its), "the folder of a lab that lives was swept away")
    for _, t2 in ipairs { living, other } do
      t2:type "\4"
      assert.equal(0, t2:wait_exit())
    end
    assert.falsy(uv.fs_stat(its))
  end)

  it("keeps its candidates connected while the prompt computes or waits for another program", function()
    local t = start()
    t:enter("a = candidate('/s', 'A', { ttl = 3 }) run(0.5)", "lab> ?$")
    t:enter("os.execute 'sleep 5'", "lab> ?$")
    t:enter("from = os.time() while os.time() < from + 5 do end", "lab> ?$")
    t:enter("run(0.5)", "lab> ?$")
    t:enter("print('leads', a.leads, #a.terms)", "lab> ?$")
    assert.truthy(t:text():find("\nleads\ttrue\t1\n") or t:text():find("\nleads +true +1\n"), t:text())
    assert.falsy(t:text():find("jeopardy", 1, true), t:text())
  end)

  it("is not ended by Ctrl-C and not stopped by Ctrl-Z, which are for the console", function()
    local t = start()
    t:enter("a = candidate('/s', 'A', { ttl = 3 }) run(0.5)", "lab> ?$")
    t:type "lock '/s'\r"
    t:wait "^lab %(waiting%) ?$"
    t:type "\3"
    t:wait "^lab> ?$"
    t:type "\26"
    wait.pass(4)
    uv.kill(t:pid(), "sigcont")
    t:enter("run(1)", "lab> ?$")
    t:enter("print('leads', a.leads, #a.terms, #line '/s')", "lab> ?$")
    assert.truthy(t:text():find("\nleads +true +1 +1\n"), t:text())
  end)
end)
