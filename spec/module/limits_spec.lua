-- Where the system gives too few threads or descriptors, connect says so: it neither hangs nor ends the process.
local etcd = require "support.etcd"
local tree = require "support.tree"
local uv = require "luv"
local vm = require "support.vm"

local PROGRAM = [[
local client, message, code = require "lunarch".connect { endpoints = "127.0.0.1:1" }
if not client then return print(code, message) end
print("connected", client:get("x", nil, 0.2))
client:close(1)
]]

-- The client's own threads are there, then none can be started. `lift`: until another process lifts that.
local LATER = [[
local lunarch = require "lunarch"
local client = assert(lunarch.connect { endpoints = "ENDPOINT" })
local session = assert(client:session { ttl = 10 })
local function limits()
  return assert(io.open "/proc/self/limits"):read("*a"):match "Max processes%s+(%S+)%s+(%S+)"
end
local pid, fifo, soft, hard = assert(io.open "/proc/self/stat"):read "*n", os.tmpname(), limits()
if lifts then
  os.execute(("rm %s; mkfifo %s; (read x <%s; prlimit --pid %d --nproc=%s:) >/dev/null 2>&1 &"):format(
    fifo, fifo, fifo, pid, hard))
end
local function lift()
  local file = assert(io.open(fifo, "w"))
  file:write "go\n"
  file:close()
  repeat until limits() ~= "0"
end
os.execute(("prlimit --pid %d --nproc=0:"):format(pid))
local other, message, code = lunarch.connect { endpoints = "127.0.0.1:1" }
print(code, message)
assert(assert(client:session { ttl = 20 }):close(20))
]]

-- This very interpreter.
local function interpreter()
  return (vm.shell "readlink /proc/$PPID/exe"):match "^[^\n]+"
end

-- What a program prints, run behind `limits` (of bash) within 20 s; of one that hangs, that it was killed.
local function run(limits, program, prefix)
  local path = tree.folder() .. "/program.lua"
  tree.write(path, program)
  local inner = ("%s; timeout -s KILL 20 %s /dev/stdin"):format(limits, tree.quote { interpreter() })
  return vm.shell((prefix or "") .. tree.quote { "bash", "-c", inner } .. " 2>&1 <" .. path)
end

describe("a process without", function()
  it("descriptors is told so", function()
    for _, n in ipairs { 12, 16, 20, 24 } do
      local output = run("ulimit -n " .. n, PROGRAM)
      assert.matches("^unavailable%s+too few file descriptors: .*ulimit %-n", output)
    end
    assert.matches("^connected", (run("ulimit -n 64", PROGRAM)))
  end)

  -- What begins a command as a user of its own, so that no other processes count, those of another run of this spec
  -- neither; or nil and why not.
  local function as_another()
    if not vm.shell("id -u"):match "^0" then return nil, "other processes of this user count too" end
    if not select(2, vm.shell("setpriv --version >/dev/null 2>&1")) then
      return nil, "as root there is no limit, and there is no setpriv to become another"
    end
    local prefix = ("setpriv --reuid %d --clear-groups "):format(100000 + uv.os_getpid())
    if select(2, vm.shell(prefix .. "test -r " .. tree.quote { tree.root } .. "/README.md")) then return prefix end
    return nil, "another user cannot read this tree"
  end

  it("threads is told so", function()
    local prefix, why = as_another()
    if not prefix then return pending(why) end
    for _, n in ipairs { 2, 4, 6, 8 } do
      local output = run("ulimit -u " .. n, PROGRAM, prefix)
      assert.matches("^unavailable%s+too few threads: .*ulimit %-u", output)
    end
  end)

  it("room for the memory of gRPC's threads is told so, or connects", function()
    for _, kb in ipairs { 100000, 160000, 200000, 240000 } do
      local output = run("ulimit -v " .. kb, PROGRAM)
      assert.is_truthy(output:match "^unavailable%s+too few threads: .*ulimit %-v" or output:match "^connected", output)
    end
  end)

  -- gRPC waits for ever for a thread that it counted and was not given.
  it("threads later, as long as it lives or for a while, ends all the same", function()
    local prefix, why = as_another()
    if not prefix then return pending(why) end
    local server = etcd.start()
    local later = LATER:gsub("ENDPOINT", server.endpoint)
    for _, program in ipairs { later, "lifts = true " .. later .. "lift() " } do
      local output = run(":", program .. "print 'end' os.remove(fifo)", prefix)
      assert.matches("^unavailable%s+too few threads: [^\n]*%(ulimit %-u[^\n]*\nend\n$", output)
    end
    server:stop()
  end)
end)
