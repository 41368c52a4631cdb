-- Files of a script in the simulator.
local process = require "support.process"
local script = require "host.script"
local simulate = require "sim.simulate"
local tree = require "support.tree"

describe("in the simulator a script", function()
  it("writes no file of the machine, and finds what it has written, in its next life, too", function()
    local path = tree.folder() .. "/state"
    local text = ([[
      local PATH = %q
      local function read()
        local file = io.open(PATH)
        local found = file and file:read "a"
        if file then file:close() end
        return found
      end
      local life = tonumber(read() or 0) + 1
      local file = assert(io.open(PATH .. ".new", "w"))
      assert(file:write(life, "\n") and file:close())
      assert(os.rename(PATH .. ".new", PATH))
      assert(read() == life .. "\n" and not io.open(PATH .. ".new") and io.type(file) == "closed file")
      local log, n = assert(io.open(PATH .. ".log", "a+")), 0
      assert(log:seek "set" == 0 and log:write("another life\n") and log:seek "set" == 0)
      for line in log:lines() do
        assert(line == "another life")
        n = n + 1
      end
      assert(n == life and log:close() and #io.open(PATH .. ".log"):read "a" == 13 * n)
      local other = os.tmpname()
      assert(io.open(other, "a")):write "x"
      assert(os.remove(other) and select(3, io.open(other)) == 2 and select(3, os.remove(other)) == 2)
      election, ttl = "/e", 3
      function on_elected() end
      function check(world)
        for _, candidate in ipairs(world.candidates) do
          local own = world.notes["files of " .. candidate.name]
          if own and tonumber(own[PATH]) > candidate.lives then return false, "more lives than there were" end
        end
      end
    ]]):format(path)
    local report = simulate.report(text, "--seeds", "1..20")
    assert.is_nil(report.failure and report.failure.reason)
    assert.is_nil(io.open(path))
    assert.is_nil(io.open(path .. ".log"))
  end)

  it("has files that all who have opened them write to, by whichever name, wherever they are moved", function()
    local folder = tree.folder()
    local lines = simulate.printed(([[
      local path = %q .. "/log"
      local one, other = io.open(path, "a"), io.open(%q .. "//./log", "a")
      one:write "1"
      other:write "2"
      os.rename(path, path .. ".old")
      one:write "3"
      print(io.open(path .. ".old"):read(), io.open(path))
      os.remove(path .. ".old")
      other:write(1.0, 4)
      print(io.open(path .. ".old"), pcall(one.write, one, "a", nil, "b"))
      print(io.close(one), io.type(one), pcall(other.seek, other, "begin"))
      local chunk = io.open(path, "w")
      chunk:write("local x = ... return x or 'its own'")
      io.close(chunk)
      print(dofile(path), loadfile(path)("given"), io.open(%q, "w"))
      local life = os.tmpname()
      io.output(path)
      io.write "by write"
      io.close()
      print(io.open(path):read(), life)
    ]]):format(folder, folder, folder))
    assert.same({
      ("123\tnil\t%s/log: No such file or directory\t2"):format(folder),
      "nil\tfalse\t",
      "true\tclosed file\tfalse\t",
      ("its own\tgiven\tnil\t%s: Is a directory\t21"):format(folder),
      "by write\t/tmp/lua_000001",
    }, { lines[1], lines[2]:match "^.*false\t", lines[3]:match "^.*false\t", lines[4], lines[5] })
  end)

  it("gets another name for a temporary file in each life", function()
    local report = simulate.report([[
      election, ttl = "/e", 3
      local path = os.tmpname()
      assert(io.open(path):read "a" == "")
      assert(io.open(path, "w")):write(path)
      function on_elected() end
      function check(world)
        for _, candidate in ipairs(world.candidates) do
          local n = 0
          for _ in pairs(world.notes["files of " .. candidate.name] or {}) do n = n + 1 end
          if n > candidate.lives then return false, "more files than lives" end
          if n < candidate.lives - 1 then return false, "fewer files than lives" end
        end
      end
    ]], "--seeds", "1..20")
    assert.is_nil(report.failure and report.failure.reason)
  end)

  it("has as much of a file as was written, in parts and over one another, and so has its check", function()
    local report = simulate.report([=[
      election, ttl = "/e", 3
      local log = assert(io.open("log", "a"))
      local n, size = 0, assert(log:seek "end")
      function do_work()
        for _ = 1, 20 do
          n = n + 1
          assert(log:write(n, "\n"))
          size = size + #tostring(n) + 1
        end
        assert(assert(io.open("log", "a")):write "other\n")
        size = size + 6
        local read = assert(io.open("log", "r+"))
        assert(read:seek "end" == size and log:seek "end" == size)
        assert(read:seek("end", -6) and read:read() == "other" and read:seek("end", -6))
        assert(read:write "OTHER" and read:seek "set")
        assert(#read:read "a" == size and select(2, assert(io.open("log")):read("a"):gsub("OTHER", "")) >= n // 20)
        if n == 100 then
          os.rename("log", "old")
          assert(log:write "end\n" and log:seek "end" == size + 4 and read:seek "end" == size + 4)
          n, size, log = 0, 0, assert(io.open("log", "w"))
        end
        return 0.2
      end
      function check(world)
        for _, candidate in ipairs(world.candidates) do
          local own = world.notes["files of " .. candidate.name] or {}
          if own.old and not own.old:find "OTHER\nend\n$" then return false, own.old end
          if (own.log or ""):find "otherother" then return false, own.log end
        end
      end
    ]=], "--seeds", "1..10")
    assert.is_nil(report.failure and report.failure.reason)
    assert.is_true(report.terms > 0)
  end)

  it("reads nothing from the standard input of the machine", function()
    local path = script.write [[
      print(io.read(), io.read "a", io.stdin:read(5), io.lines()(), io.stdin, io.type(io.stdin))
      print(io.open("/dev/stdin"):read(), io.input():read(), pcall(dofile), loadfile()(), debug.debug())
      print(io.open "/dev/tty")
      io.open("/dev/stdout", "w"):write("out\n")
      io.open("/dev/null", "w"):write("gone")
      print(io.open("/dev/null"):read "a" == "", sim and next(sim) ~= nil, io.stdin:close(), io.type(io.stdin))
    ]]
    local output, status = process.run {
      "sh", "-c", 'echo of the machine | "$0" sim "$1" --seeds 1 --candidates 1 --faults none --timeline', tree.program,
      path,
    }
    assert.equal(0, status, output)
    assert.is_nil(output:find "of the machine")
    local lines = {}
    for line in output:gmatch "0%.000  : ([^\n]*)" do
      lines[#lines + 1] = line
    end
    assert.same({
      "starts", "nil  nil nil file (simulated) file", "nil nil true nil", "nil /dev/tty: No such device or address 6",
      "out", "true true true closed file",
    }, lines)
  end)

  it("may leave files open: none of the machine's stays open, and what they hold is the seed's", function()
    local path = script.write [[
      election, ttl = "/e", 3
      local random = assert(io.open("/dev/urandom", "rb")):read(2)
      math.randomseed(random:byte(1), random:byte(2))
      print(math.random())
      function do_work()
        assert(io.open("/etc/passwd")):read()
        assert(io.open("written", "a")):write(math.random())
        return 0.1 + math.random() / 10
      end
    ]]
    local found = {}
    for i = 1, 2 do
      found[i] = process.run { "sh", "-c",
        'ulimit -n 60; exec "$0" sim "$1" --seeds 1..15 --jobs 1 --json 2>/dev/null', tree.program, path }
      found[i] = found[i]:gsub('"seconds":[%d.]+', "")
      assert.matches('"failed":%[%]', found[i])
    end
    assert.equal(found[1], found[2])
    assert.is_nil(io.open "written")
  end)
end)
