-- The lines of the host's log.
local json = require "cjson"

describe("the log", function()
  local log
  local written, is_journal = {}, false

  setup(function()
    package.preload["lunarch.host"] = function()
      return {
        is_terminal = function() return false end, is_journal = function() return is_journal end,
        time = function() return 1700000000.25 end,
        log = function(text) written[#written + 1] = text end,
      }
    end
    log = require "lunarch.cli.log"
  end)

  teardown(function()
    package.preload["lunarch.host"], package.loaded["lunarch.host"], package.loaded["lunarch.cli.log"] = nil, nil, nil
  end)

  local TIME = 1700000000.25

  it("shows time with milliseconds and zone, level, candidate and message", function()
    local line = log.line("text", TIME, "warn", "A", "lost: expired")
    assert.truthy(line:find "^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.250[+-]%d%d%d%d WARN  A: lost: expired\n$")
  end)

  it("goes without a candidate where there is none", function()
    assert.truthy(log.line("text", TIME, "info", nil, "hello"):find " INFO  hello\n$")
  end)

  it("indents the further lines of a message", function()
    assert.truthy(log.line("text", TIME, "error", "A", "one\ntwo"):find "A: one\n    two\n$")
  end)

  it("keeps a name within its line", function()
    for _, format in ipairs { "text", "coloured" } do
      local line = log.line(format, TIME, "warn", "A\nB\27[0m", "x")
      assert.equal(1, select(2, line:gsub("\n", "")))
      assert.truthy(line:find("A\\nB\\x1b[0m", 1, true))
    end
  end)

  it("shows no control character of a message, in which another's words may stand", function()
    for _, format in ipairs { "text", "coloured", "journal" } do
      local line = log.line(format, TIME, "warn", nil, "leader \27[2J\0\r\194\155 is\there\nthere\127 häuser")
      assert.truthy(line:find("leader ?[2J???? is\there\n", 1, true))
      assert.truthy(line:find("there? häuser\n", 1, true))
    end
  end)

  it("is coloured for a terminal", function()
    assert.truthy(log.line("coloured", TIME, "error", "A", "x"):find "\27%[31mERROR\27%[0m \27%[36mA\27%[0m x")
  end)

  it("as JSON is one object a line, whatever the message holds", function()
    for _, text in ipairs { 'say "hi"', "two\nlines", "tab\tand \1 and \127\194\155", "back\\slash", "häuser", "" } do
      local line = log.line("json", TIME, "info", "A\"", text)
      assert.equal(1, select(2, line:gsub("\n", "")))
      assert.is_nil(line:find "\194[\128-\159]")
      assert.same({ time = "2023-11-14T22:13:20.250Z", level = "info", candidate = 'A"', message = text },
        json.decode(line))
    end
  end)

  it("as JSON is UTF-8, even if the message is not", function()
    local message = json.decode(log.line("json", TIME, "info", nil, "a\255b\xC3")).message
    assert.equal("a\u{FFFD}b\u{FFFD}", message)
  end)

  it("bears the priority on every line where the journal reads it, and no time", function()
    assert.equal("<4>WARN  A: x\n", log.line("journal", TIME, "warn", "A", "x"))
    assert.equal("<3>ERROR one\n<3>    two\n", log.line("journal", TIME, "error", nil, "one\ntwo"))
    assert.truthy(log.line("journal_json", TIME, "info", "A", "x"):find '^<6>{"time"')
  end)

  it("knows by the variable and the descriptor whether the journal reads it, in patterns too", function()
    is_journal = true
    for _, format in ipairs { "text", "json" } do
      log.set_format(format)
      written = {}
      log.new(function() return "A" end).error "x"
      log.complain "y"
      assert.truthy(written[1]:find "^<3>" and written[2]:find "^<3>")
      assert.truthy(log.pattern("warn", "A", "100 %"):find "^<4>")
    end
    is_journal = false
    log.set_format "text"
  end)

  it("writes what is at least of its level: info, unless told otherwise", function()
    local function lines_at(level)
      written = {}
      log.set_level(level)
      local a = log.new(function() return "A" end)
      for _, name in ipairs(log.LEVELS) do a[name](name) end
      return #written
    end
    assert.same({ 4, 3, 2, 1 }, { lines_at "debug", lines_at "info", lines_at "warn", lines_at "error" })
    log.set_level "info"
  end)

  it("says what is wrong with a format, and raises nothing", function()
    written = {}
    local ok = pcall(log.new(function() return "A" end).info, "token %d", "none")
    assert.is_true(ok)
    assert.truthy(written[1]:find "token %%d %(bad argument")
  end)
end)
