local process = require "support.process"
local tree = require "support.tree"
local uv = require "luv"
local wait = require "support.wait"

-- Runs the runner on a tree of its own, made of `files` (path below spec/ = text).
local function run(files, ...)
  local root = tree.folder()
  assert(os.execute(("mkdir -p %s/build/unit %s/spec/unit %s/spec/module"):format(root, root, root)))
  assert(os.execute("ln -s " .. tree.quote { tree.build .. "/unit/luajit", root .. "/build/unit/luajit" }))
  assert(os.execute("ln -s " .. tree.quote { tree.root .. "/spec/support", root .. "/spec/support" }))
  for path, text in pairs(files) do
    local file = assert(io.open(root .. "/spec/" .. path, "w"))
    file:write(text)
    file:close()
    local unit = path:match "^unit/(.*)%.c$"
    if unit then assert(os.execute(("cd %s && cp spec/%s build/unit/%s && chmod +x build/unit/%s"):format(
      root, path, unit, unit))) end
  end
  local output, status = process.run {
    limit = 2 * wait.LIMIT, env = { LUNARCH_ROOT = root, LUNARCH_BUILD = root .. "/build", LUNARCH_TMP = false },
    "lua5.4", tree.root .. "/spec/support/run.lua", ...,
  }
  return output, status, output:match "([^\n]*)\n$"
end

local GOOD = 'it("works", function() assert.equal(1, 1) end)\n'

-- A unit test is whatever program stands in the build tree; here, a shell script in place of C.
local function unit(script) return "#!/bin/sh\n" .. script .. "\n" end

describe("the runner", function()
  it("adds up what passed, and succeeds", function()
    local _, status, last = run {
      ["a_spec.lua"] = GOOD .. GOOD,
      ["b_serial_spec.lua"] = GOOD,
      ["unit/c_test.c"] = unit "echo ok one; echo '4 passed, 0 failed'",
    }
    assert.equal("7 passed, 0 failed", last)
    assert.equal(0, status)
  end)

  it("fails with a spec that fails, and shows its sentence and place", function()
    local output, status, last = run {
      ["a_spec.lua"] = GOOD .. 'describe("the moon", function()\n it("is cheese", function() error "rock" end)\nend)\n',
    }
    assert.equal("1 passed, 1 failed", last)
    assert.equal(1, status)
    assert.matches("failed: the moon is cheese", output)
    assert.matches("spec/a_spec.lua:3: rock", output)
  end)

  it("counts what is pending as skipped", function()
    local output, status, last = run {
      ["a_spec.lua"] = GOOD .. 'it("is rock", function() return pending "no\\nmoon" end)\n',
      ["b_spec.lua"] = 'pending "later"\n',
    }
    assert.equal("1 passed, 0 failed", last)
    assert.matches("(2 skipped: not possible here)", output, 1, true)
    assert.matches("skipped: no moon\n", output, 1, true)
    assert.equal(0, status)
  end)

  it("names what the wanted files need, and runs none", function()
    local files = {
      ["a_spec.lua"] = "-- limit: 9 s\n-- needs: moon cheese\n" .. GOOD, ["b_spec.lua"] = "-- needs: rock moon\n",
      ["c_spec.lua"] = GOOD,
    }
    assert.equal("cheese moon rock\n", (run(files, "--needs")))
    assert.equal("moon rock\n", (run(files, "--needs", "--filter=x", "spec/b", "c_spec")))
    assert.equal("\n", (run(files, "--needs", "c_spec")))
  end)

  it("runs what lies below spec/module on each VM, and other files where they want to", function()
    local on_luajit = 'it("is on LuaJIT", function() assert.is_not_nil(rawget(_G, "jit")) end)\n'
    local output, _, last = run {
      ["module/a_spec.lua"] = on_luajit, ["b_spec.lua"] = on_luajit, ["c_spec.lua"] = "-- vms: luajit\n" .. on_luajit,
    }
    assert.matches("ok +spec/module/a_spec.lua on luajit", output)
    assert.matches("FAIL +spec/module/a_spec.lua  ", output)
    assert.matches("FAIL +spec/b_spec.lua  ", output)
    assert.matches("ok +spec/c_spec.lua on luajit", output)
    assert.equal("2 passed, 2 failed", last)
  end)

  it("runs a file against a secured cluster too where it says so, or where the caller does", function()
    local asks = 'it("says which", function() print("cluster " .. os.getenv "LUNARCH_SPEC_CLUSTER") error "seen" end)\n'
    local files = { ["a_spec.lua"] = "-- clusters: plain mtls\n" .. asks, ["b_spec.lua"] = asks }
    local output, _, last = run(files)
    assert.equal("0 passed, 3 failed", last)
    assert.matches("FAIL +spec/a_spec.lua over mtls .*> cluster mtls", output)
    assert.matches("FAIL +spec/b_spec.lua  .*> cluster plain", output)
    output, _, last = run(files, "--cluster=mtls")
    assert.equal("0 passed, 2 failed", last)
    assert.matches("FAIL +spec/b_spec.lua over mtls", output)
  end)

  it("runs those that are called serial after the others, no more of them at once than there are cores", function()
    local order, n_cores = tree.folder() .. "/order", #uv.cpu_info()
    local text = ([[
      it("is noted", function()
        local file = io.open(%q, "a")
        file:setvbuf "line"
        file:write "+ NAME\n"
        require("luv").sleep(200)
        file:write "- NAME\n"
      end)
    ]]):format(order)
    local files = { ["a_spec.lua"] = text:gsub("NAME", "crowd"), ["b_spec.lua"] = text:gsub("NAME", "crowd") }
    for i = 1, n_cores + 2 do
      files["c" .. i .. "_serial_spec.lua"] = text:gsub("NAME", "serial")
    end
    local _, _, last = run(files)
    assert.equal(n_cores + 4 .. " passed, 0 failed", last)
    local n_now, most, has_serial = 0, 0, false
    for sign, name in tree.read(order):gmatch "([+-]) (%w+)" do
      if name == "serial" then
        has_serial, n_now = true, n_now + (sign == "+" and 1 or -1)
        most = math.max(most, n_now)
      else
        assert.is_false(has_serial)
      end
    end
    assert.is_true(has_serial and most <= n_cores, most .. " at once")
  end)

  it("has what the system says in its own words, whatever the language of the caller", function()
    local output, status = run {
      ["a_spec.lua"] = [[it("is asked", function()
        assert.same({ "C.UTF-8" }, { os.getenv "LC_ALL", os.getenv "LANGUAGE" })
      end)]],
    }
    assert.equal(0, status, output)
  end)

  it("is not deceived by os.exit(0) in a spec", function()
    local output, status, last = run { ["a_spec.lua"] = GOOD .. 'it("leaves", function() os.exit(0) end)\n' .. GOOD }
    assert.equal("1 passed, 1 failed", last)
    assert.equal(1, status)
    assert.matches("exited with status 0 before its plan was completed, in: leaves", output)
  end)

  it("fails with a file that does not load, that holds no spec, or that crashes", function()
    local output, status, last = run {
      ["a_spec.lua"] = "it(",
      ["b_spec.lua"] = "",
      ["c_spec.lua"] = 'it("crashes", function() require("luv").kill(require("luv").os_getpid(), "sigkill") end)\n',
    }
    assert.equal("0 passed, 3 failed", last)
    assert.equal(1, status)
    assert.matches("holds no spec", output)
    assert.matches("was killed by signal 9 before its plan was completed, in: crashes", output)
  end)

  it("ends a file that takes too long, and all it started", function()
    local output, status, last = run {
      ["a_spec.lua"] = [[
-- limit: 1 s
it("hangs", function()
  local pipe = io.popen("sh -c 'echo $$; exec sleep 1000'")
  print("pid " .. pipe:read "l")
  io.stdout:flush()
  while true do end
end)
]],
    }
    assert.equal("0 passed, 1 failed", last)
    assert.equal(1, status)
    assert.matches("was ended after its limit of %d+ s before its plan was completed, in: hangs", output)
    local pid = math.tointeger(output:match "pid (%d+)")
    -- Told to die it is, but the kernel may take a while over it.
    wait.eventually(function() return not process.is_running(pid) end)
  end)

  local FAILS_ONCE = [[
it("is judged once more", function()
  local uv = require "luv"
  local marker = os.getenv "LUNARCH_ROOT" .. "/has_failed"
  if uv.fs_stat(marker) then return end
  io.open(marker, "w"):close()
  STALL
  error "too late"
end)
]]

  it("runs again what failed while the machine stood still, and nothing else", function()
    local stall = "os.execute(('kill -STOP %d; sleep 0.5; kill -CONT %d'):format(uv.os_getppid(), uv.os_getppid()))"
    local output, status, last = run { ["a_spec.lua"] = FAILS_ONCE:gsub("STALL", (stall:gsub("%%", "%%%%"))) }
    assert.matches("FAIL +spec/a_spec.lua", output)
    assert.matches("again spec/a_spec.lua: the machine stood still for %d+%.%d+ s meanwhile", output)
    assert.equal("1 passed, 0 failed", last)
    assert.equal(0, status)
  end)

  it("does not run again what hung until its limit", function()
    local stall = "os.execute(('kill -STOP %d; sleep 0.5; kill -CONT %d'):format(uv.os_getppid(), uv.os_getppid()))"
    local text = FAILS_ONCE:gsub("STALL", (stall:gsub("%%", "%%%%"))):gsub('error "too late"', "while true do end")
    local output, _, last = run { ["a_spec.lua"] = "-- limit: 2 s\n" .. text }
    assert.is_nil(output:find("again", 1, true), output)
    assert.equal("0 passed, 1 failed", last)
  end)

  it("fails with a unit test that fails, or ends early, or exits badly after success", function()
    local output, status, last = run {
      ["unit/a_test.c"] = unit "echo 'not ok it holds: a.c:3: x == y'; echo '1 passed, 1 failed'; exit 1",
      ["unit/b_test.c"] = unit "echo 'ok one'; exit 0",
      ["unit/c_test.c"] = unit "echo '1 passed, 0 failed'; exit 99",
      ["unit/d_test.c"] = unit "echo 'SKIP no etcd'; exit 77",
    }
    assert.equal("2 passed, 3 failed", last)
    assert.equal(1, status)
    assert.matches("failed: it holds: a.c:3: x == y", output)
    assert.matches("exited with status 0 before its plan was completed", output)
    assert.matches("every test passed, and then the program exited with status 99", output)
  end)

  it("is not deceived by a unit test that says what failed, but does not count it", function()
    local output, status, last = run {
      ["unit/a_test.c"] = unit "echo 'not ok it holds: a.c:3: x == y'; echo '1 passed, 0 failed'",
    }
    assert.equal("1 passed, 1 failed", last)
    assert.equal(1, status)
    assert.matches("failed: it holds: a.c:3: x == y", output)
    assert.matches("does not count what failed in it", output)
  end)

  it("runs what it is asked for only, and fails if that is nothing", function()
    local files = { ["a_spec.lua"] = GOOD, ["b_spec.lua"] = 'it("b", error)\n' .. GOOD }
    local _, _, last = run(files, "spec/a_spec.lua")
    assert.equal("1 passed, 0 failed", last)
    _, _, last = run(files, "--filter=works")
    assert.equal("2 passed, 0 failed", last)
    local output, status
    output, status, last = run(files, "nowhere")
    assert.matches("no test matches nowhere", output)
    assert.equal("0 passed, 1 failed", last)
    assert.equal(1, status)
  end)

  it("refuses a flag that it does not know", function()
    local output, status = run({ ["a_spec.lua"] = GOOD }, "--fast")
    assert.equal(2, status)
    assert.matches("unknown option .%-%-fast", output)
  end)
end)
