-- Where the system gives too few threads or descriptors, connect says so: it neither hangs nor ends the process.
local tree = require "support.tree"
local uv = require "luv"
local vm = require "support.vm"

local PROGRAM = [[
local client, message, code = require "lunarch".connect { endpoints = "127.0.0.1:1" }
if not client then return print(code, message) end
print("connected", client:get("x", nil, 0.2))
client:close(1)
]]

-- This very interpreter.
local function interpreter()
  return (vm.shell "readlink /proc/$PPID/exe"):match "^%S+"
end

-- What the program prints, run behind `limits` (of bash) within 20 s; one that hangs prints nothing.
local function run(limits, prefix)
  local path = tree.folder() .. "/program.lua"
  tree.write(path, PROGRAM)
  local inner = ("%s; exec timeout 20 %s /dev/stdin"):format(limits, interpreter())
  return vm.shell((prefix or "") .. tree.quote { "bash", "-c", inner } .. " 2>&1 <" .. path)
end

describe("a process without", function()
  it("descriptors is told so", function()
    for _, n in ipairs { 12, 16, 20, 24 } do
      local output = run("ulimit -n " .. n)
      assert.matches("^unavailable%s+too few file descriptors: .*ulimit %-n", output)
    end
    assert.matches("^connected", (run "ulimit -n 64"))
  end)

  it("threads is told so", function()
    local id = vm.shell("id -u")
    local is_root = id:match "^0"
    if is_root and not select(2, vm.shell("setpriv --version >/dev/null 2>&1")) then
      return pending "as root there is no limit, and there is no setpriv to become another"
    end
    -- A user of its own, so that no other processes count, those of another run of this spec neither.
    local prefix = is_root and ("setpriv --reuid %d --clear-groups "):format(100000 + uv.os_getpid()) or ""
    if not is_root then return pending "other processes of this user count too" end
    if not select(2, vm.shell(prefix .. "test -r " .. tree.quote { tree.root } .. "/README.md")) then
      return pending "another user cannot read this tree"
    end
    for _, n in ipairs { 2, 4, 6, 8 } do
      local output = run("ulimit -u " .. n, prefix)
      assert.matches("^unavailable%s+too few threads: .*ulimit %-u", output)
    end
  end)
end)
