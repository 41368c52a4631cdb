-- The command `lunarch sim`: what it accepts, what it prints, and how it ends.
local simulate = require "sim.simulate"
local process = require "support.process"
local script = require "host.script"
local tree = require "support.tree"
local wait = require "support.wait"

describe("lunarch sim", function()
  after_each(process.end_all)

  local FINE = [[
    election, ttl = "/e", 3
    function do_work() return 0.5 end
  ]]
  local WRONG = FINE .. "function check(world) return world.now < 6, 'six seconds' end"

  it("says what is wrong with its arguments", function()
    local path = script.write(FINE)
    local cases = {
      { "5..1 ends before it begins", "--seeds", "5..1" },
      { "'x' is neither a number nor a range such as 1..1000", "--seeds", "x" },
      { "too high: at most", "--seeds", "1..99999999999" },
      { "40 is too many: at most 16", "--candidates", "40" },
      { "'0' is not a whole number, 1 or more", "--candidates", "0" },
      { "'0.5' is not a whole number, 1 or more", "--ttl", "0.5" },
      { "there is no kind 'paus': did you mean 'pause'?", "--faults", "paus" },
      { "unknown option", "--bogus" },
    }
    for _, case in ipairs(cases) do
      local _, status, err = simulate.file(path, table.unpack(case, 2))
      assert.equal(2, status)
      assert.is_truthy(err:find(case[1], 1, true), err)
      assert.matches("Try: lunarch sim %-%-help", err)
    end
  end)

  it("says where a script is wrong, or that there is none", function()
    local _, status, err = simulate.text "election = = 1"
    assert.equal(2, status)
    assert.matches("^lunarch sim: .*script.lua:1: unexpected symbol", err)
    _, status, err = simulate.file "/nowhere/at/all.lua"
    assert.equal(2, status)
    assert.matches("cannot open /nowhere/at/all.lua", err)
  end)

  it("finds modules beside the script, whatever the working directory is", function()
    local path = script.write("local helper = require 'helper_beside'\n" .. FINE .. "assert(helper == 'found')")
    tree.write(path:match "^(.*)/" .. "/helper_beside.lua", "return 'found'")
    local output, status = process.run { "lunarch", "sim", path, "--seeds", "1..2", cwd = "/" }
    assert.equal(0, status, output)
  end)

  it("uses its own libraries, whatever is called so beside the script", function()
    local path = script.write(FINE .. "assert(require 'helper_beside' == 'found' and require 'luv'.new_timer)")
    local folder = path:match "^(.*)/"
    for _, name in ipairs { "luv", "cjson", "argparse" } do
      tree.write(("%s/%s.lua"):format(folder, name), "return {}")
    end
    tree.write(folder .. "/helper_beside.lua", "return 'found'")
    for _, case in ipairs { { path, "/" }, { "script.lua", folder }, { "./script.lua", folder } } do
      local output, status = process.run {
        "sh", "-c", 'cd "$0" && exec "$1" sim "$2" --seeds 1..2 --json', case[2], tree.program, case[1],
      }
      assert.equal(0, status, output)
    end
  end)

  it("takes a script for no module of its own name", function()
    local path = script.write("local cjson = require 'cjson'\n" .. FINE .. "assert(cjson.encode)", "cjson.lua")
    for _, case in ipairs { { path, "/" }, { "cjson.lua", (path:match "^(.*)/") } } do
      local output, status = process.run { "lunarch", "sim", case[1], "--seeds", "1..2", cwd = case[2] }
      assert.equal(0, status, output)
    end
  end)

  it("explains itself", function()
    local out, status = simulate.file "--help"
    assert.equal(0, status)
    assert.matches("usage: lunarch sim SCRIPT", out)
    assert.matches("world.candidates%[i%]", out)
  end)

  it("sums up, and says when nothing but the usual was looked for", function()
    local out, status = simulate.text(FINE, "--seeds", "1..10", "--candidates", "2")
    assert.equal(0, status)
    assert.matches("script.lua: 10 histories of 2 candidates: nothing went wrong\n", out)
    assert.matches("simulated hours in [%d.]+ s %(%d+ seeds/s%): %d+ terms, %d+ candidates killed, %d+ paused", out)
    assert.matches("no check%(world%) in it", out)
  end)

  it("tells the timeline of the lowest seed that failed", function()
    local out, status = simulate.text(WRONG, "--seeds", "4..20")
    assert.equal(1, status)
    assert.matches("seed 4 failed\n", out)
    assert.matches("\n +A +B +C +etcd\n", out)
    assert.matches("\n +[%d.]+ [ :]+| on_elected %(token %d+%)", out)
    assert.matches("WRONG: check: six", out)
    assert.matches("\nseed 4, after 6%.%d+ s: check: six seconds\n", out)
    assert.matches("\nagain:  lunarch sim [^\n]*script.lua %-%-seeds 4$", out)
  end)

  it("draws lanes in place of columns for many candidates", function()
    local out = simulate.text(WRONG, "--seeds", "1", "--candidates", "9")
    assert.matches("\n +[%d.]+ +[:|~ ]+ +A +starts\n", out)
    assert.matches("%-%-candidates 9", out)
  end)

  it("counts all seeds that fail, with --all", function()
    local out, status = simulate.text(WRONG, "--seeds", "1..12", "--all")
    assert.equal(1, status)
    assert.matches("12 histories of 3 candidates: 12 failed", out)
    assert.matches("seeds that failed: 1 2 3 4 5 6 7 8 9 10 11 12\n", out)
  end)

  it("repeats the flags in the command that repeats a seed", function()
    local out = simulate.text(WRONG, "--seeds", "1..8", "--ttl", "4", "--faults", "kill,pause", "--", "a word", "b")
    assert.matches("%-%-seeds 1 %-%-ttl 4 %-%-faults kill,pause %-%- 'a word' b$", out)
  end)

  it("tells one seed the same in every run, on however many cores", function()
    local path = tree.root .. "/examples/failover.lua"
    local function timeline(...)
      return (simulate.file(path, "--timeline", "--full", ...):gsub("simulated hours in [^\n]*", ""))
    end
    local first = timeline("--seeds", "7")
    assert.equal(first, timeline("--seeds", "7"))
    assert.equal(first, timeline("--seeds", "7", "--jobs", "2"))
    assert.not_equal(first, timeline("--seeds", "8"))
  end)

  it("finds the same seeds on one core and on several", function()
    local path = tree.root .. "/examples/sim/unguarded.lua"
    local function failed_with(jobs)
      local out = simulate.file(path, "--seeds", "1..150", "--all", "--jobs", jobs)
      return out:match "seeds that failed: ([^\n]*)"
    end
    local alone = failed_with "1"
    assert.is_truthy(alone)
    assert.equal(alone, failed_with "3")
  end)

  it("gives programs one JSON object", function()
    local report = simulate.report(WRONG, "--seeds", "2..9")
    assert.equal(3, report.candidates)
    assert.same({ from = 2, to = 9 }, report.seeds)
    assert.equal(2, report.failed[1])
    assert.equal("check: six seconds", report.failure.reason)
    assert.matches("%-%-seeds 2$", report.failure.again)
    assert.equal("starts", report.timeline[1].text)
    assert.is_true(report.has_check)
    assert.is_false(report.interrupted)
  end)

  it("gives programs numbers with a point, where a script has chosen a locale that has commas", function()
    -- As os.setlocale("de_DE.UTF-8"), which need not be there.
    local report = simulate.report([[
      local format = string.format
      function string.format(...) return (format(...):gsub("(%d)%.(%d)", "%1,%2")) end
      election, ttl = "/e", 3
      function do_work() return 1 end
    ]], "--seeds", "1..6")
    assert.is_nil(report.failure)
    assert.is_true(report.simulated_seconds > 0)
  end)

  it("ends at the first Ctrl-C, with what was seen so far", function()
    for _, jobs in ipairs { "1", "2" } do
      local child = simulate.start(script.write(FINE), "--seeds", "1..1000000", "--jobs", jobs)
      wait.pass(1)
      child:signal "sigint"
      assert.equal(130, (child:wait_exit()), child:output())
      assert.matches("nothing went wrong before it was interrupted", child:output())
    end
  end)

  it("says so when a worker of its own dies, and that not all were run", function()
    local child = simulate.start(script.write(FINE), "--seeds", "1..1000000", "--jobs", "2")
    local worker
    wait.eventually(function()
      worker = tree.read(("/proc/%d/task/%d/children"):format(child.pid, child.pid)):match "%d+"
      return worker
    end, nil, "a worker")
    process.kill9(tonumber(worker))
    assert.equal(1, (child:wait_exit()))
    assert.matches("not all were run", child:output())
    assert.matches("the simulator itself died of signal 9", child:output())
  end)

  it("is told of in the program's own help", function()
    local out = process.run { "lunarch", "--help" }
    assert.matches("\n   sim  ", out)
  end)

  it("leaves a script that is called sim to `lunarch run`", function()
    local path = script.write("print(123)", "sim")
    local out = process.run { "lunarch", "run", path }
    assert.matches("123", out)
  end)
end)
