-- limit: 180 s
-- Every verb of the console in the simulated world, and why it is missing where it is.
local cases = require "lab.cases"
local etcd = require "support.etcd"
local play = require "lab.play"
local process = require "support.process"
local script = require "host.script"
local terminal = require "support.terminal"
local tree = require "support.tree"
local verbs = require "lunarch.console.verbs"

describe("a verb", function()
  after_each(process.end_all)

  local function typed(flags, lines) return cases.output(cases.start(flags, lines)) end

  for _, list in ipairs { cases.both, cases.sim } do
    for _, case in ipairs(list) do
      it("does in the simulated world what it says: " .. case[1], function()
        cases.check(case, typed({ "--sim" }, case[2]))
      end)
    end
  end

  it("saves what was done as an experiment that plays", function()
    local path = tree.folder() .. "/saved.lua"
    typed({ "--sim" }, { cases.TWO, "cut(a)", "run(6)", ("save %q"):format(path) })
    local output, status = process.run { "lunarch", "lab", "--sim", path }
    assert.equal(0, status, output)
    assert.matches("2 of 2 expectations met", output)
  end)

  it("saves the handlers that were typed, or stand in a script, and says which it cannot", function()
    local path = tree.folder() .. "/handlers.lua"
    local own = script.write "ttl = 3\nlocal function done() end\nfunction on_lost() done() end\n"
    local output = typed({ "--sim", own }, {
      "function on_elected(term)", "print('the end of ' .. term.token) end", "candidate('/e', 'A')",
      "candidate('/f', 'B', { ttl = 3, do_work = function() print 'works' -- function() end", "return 30 end })",
      "run(1)", ("save %q"):format(path),
    })
    assert.matches("\nfunctions that are not in it, because they use local variables: 1; search for 'to be written'",
      output)
    local played, status = process.run { "lunarch", "lab", "--sim", path }
    assert.equal(0, status, played)
    assert.matches("A  the end of %d", played)
    assert.matches("B  works", played)
    assert.matches("2 of 2 expectations met", played)
    assert.matches("on_lost = function%(%) end %-%-%[%[ to be written", tree.read(path))
  end)

  it("is kept where it is called while time passes: by a task, or by the function of until_", function()
    local path = tree.folder() .. "/meanwhile.lua"
    local output = typed({ "--sim" }, {
      cases.TWO, "until_(function() if a.leads then kill(a) return true end end)",
      "lunarch.spawn(function() lunarch.sleep(2) start(a) end) run(6)", ("save %q"):format(path),
      "back(1)", "run(1)", "a.is_up",
    })
    assert.matches("B  elected, token %d\nfalse\n$", output)
    assert.matches("\nkill%(a%)\nrun%(2%)\nstart%(a%)\nrun%(4%)\n", tree.read(path))
    local played, status = process.run { "lunarch", "lab", "--sim", path }
    assert.equal(0, status, played)
  end)

  it("is saved as an experiment that plays, whatever the candidates are called, with the seed of its world", function()
    local path, lines = tree.folder() .. "/named.lua", {}
    for i, name in ipairs { "end", "kill", "x", "X", "日本", "語語", "c_end" } do
      lines[i] = ("candidate(%q, %q, { ttl = 3 })"):format("/" .. name, name)
    end
    table.move({ "run(1)", "kill 'kill'", "kill 'X'", "seed(7)", ("save %q"):format(path) }, 1, 5, #lines + 1, lines)
    assert.matches("`lunarch lab %-%-sim %-%-seed 7 /", typed({ "--sim" }, lines))
    local output, status = process.run { "lunarch", "lab", "--sim", "--seed", "7", path }
    assert.equal(0, status, output)
    assert.matches("7 of 7 expectations met", output)
  end)

  it("that begins the world again is refused to an experiment, which would end without a word", function()
    for _, call in ipairs { "back(1)", "seed(2)" } do
      local path = script.write(cases.TWO .. "\n" .. call .. "\nexpect(false, 'no')", "again.lua")
      local output, status = process.run { "lunarch", "lab", "--sim", path }
      assert.equal(1, status, output)
      assert.matches(call:match "%a+" .. ": not in an experiment, because", output)
    end
  end)

  it("says at once what is wrong with a candidate's script, and makes no candidate", function()
    local path = script.write("x = = 1", "wrong.lua")
    local output = typed({ "--sim" }, {
      "candidate('/e', 'A', { script = '/missing.lua' })", ("candidate('/e', 'A', { script = %q })"):format(path),
      "candidate('/e', 'A')", "timeline '/missing/drawn.svg' do end",
    })
    assert.matches("candidate: cannot open /missing.lua", output)
    assert.matches("candidate: [^\n]*wrong.lua:1: unexpected symbol", output)
    assert.matches("\ncandidate A: waits in the line\n", output)
    assert.matches("\ntimeline: /missing/drawn.svg: No such file or directory %(invalid%)\n", output)
  end)

  it("says of each mistake of an experiment what it is, as everywhere", function()
    for text, expected in pairs {
      ["#!/usr/bin/lunarch\nexpect(true, {})"] =
        "error: [^\n]*again%.lua:2: expect: 'text' must be a string, not a table\n",
      ["error { code = 3 }"] = "error: an error object that is a table, without a message\n",
      ["expect(function() error {} end, 'no')"] =
        "expected: no %(an error object that is a table, without a message%)\n",
    } do
      local output, status = process.run { "lunarch", "lab", "--sim", script.write(text, "again.lua") }
      assert.equal(1, status, output)
      assert.matches("\nnothing has happened\n.*" .. expected, output)
    end
  end)

  it("says in one line that a picture could not be written, after what the experiment came to", function()
    local path = tree.folder() .. "/missing/drawn.svg"
    local output, status = process.run {
      "lunarch", "lab", "--sim", "--quiet", "--svg", path, play.folder .. "cut.lua",
    }
    assert.equal(2, status, output)
    assert.matches("expectations met.*\nlunarch: %-%-svg: [^\n]*drawn.svg: No such file or directory\n$", output)
  end)

  it("records what was typed as an experiment that plays and prints the same", function()
    local path = tree.folder() .. "/recorded.lua"
    typed({ "--sim" }, { cases.TWO, "1 + 41", "kill(a)", "run(5)", "b.leads", ("record %q"):format(path) })
    local output, status = process.run { "lunarch", "lab", "--sim", path }
    assert.equal(0, status, output)
    assert.matches("\n42\n.*A +killed.*B +elected.*\ntrue\n", output)
    assert.matches("Play it with `lunarch lab %-%-sim ", tree.read(path))
  end)

  it("looks and locks in each world that begins again, and what is left of the one before says closed", function()
    local output = typed({ "--sim" }, { cases.TWO, "x = lock '/l'", "seed(3)",
      "print(x:is_held(), select(3, x:lock(1)))", "x = lock '/l'", "back(1)",
      "print(#locks(), x.token)", "print 'here'" })
    assert.matches("false\tclosed\n", output)
    assert.matches("0\tnil\nhere", output)
  end)

  it("refuses seconds that no clock counts", function()
    local output = typed({ "--sim" }, { "print(pcall(run, 1e9))", "print(pcall(run, 0/0))", "print(pcall(run, -1))" })
    assert.equal(3, select(2, output:gsub("false\t[^\n]*'seconds' must be", "")), output)
  end)

  it("that a world does not have says why", function()
    local server = etcd.start()
    local calls = {}
    for name, verb in pairs(verbs.by_name) do
      if verb.worlds and not verb.worlds.cluster then calls[#calls + 1] = name end
    end
    table.sort(calls)
    for i, name in ipairs(calls) do
      calls[i] = ("print(%q, pcall(%s))"):format(name, name)
    end
    local output = typed({ "--endpoints", server.endpoint }, calls)
    for _, call in ipairs(calls) do
      local name = call:match '"([%w_]+)"'
      local sentence = name .. ": not here, because [^\n]+; `lunarch console %-%-%a+`"
      assert.matches("\n?" .. name .. "\tfalse\t.*" .. sentence, output)
    end
    server:stop()
  end)

  it("is ended by Ctrl-C in the simulated world, and the prompt stays", function()
    local t = terminal.start { "lunarch", "console", "--sim" }
    t:wait "sim> ?$"
    t:type "print 'begun' while true do end\r"
    t:wait "^begun$"
    t:type "\3"
    t:wait "sim> ?$"
    assert.matches("interrupted", t:text())
    t:enter "1 + 1"
    assert.matches("\n2\n", t:text())
    terminal.end_all()
  end)
end)
