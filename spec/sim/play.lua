-- Plays scripts of specs with `lunarch sim`.
local json = require "cjson"
local process = require "support.process"
local script = require "host.script"

local play = {}

-- Starts it on the script at `path`, with these flags.
---@return Process
function play.start(path, ...)
  return process.start { "lunarch", "sim", path, ... }
end

-- To its end: what it printed on stdout, its status, and what it said on stderr.
function play.file(path, ...)
  local child = play.start(path, ...)
  local status = child:wait_exit()
  local out, err = {}, {}
  for _, line in ipairs(child:lines()) do
    local list = line.from == "out" and out or err
    list[#list + 1] = line.text
  end
  return table.concat(out, "\n"), status, table.concat(err, "\n")
end

-- A script of this text.
function play.text(text, ...)
  return play.file(script.write(text), ...)
end

-- What came of it as a table: see lunarch.cli.sim.report.
function play.report(text, ...)
  local out, status, err = play.text(text, "--json", ...)
  local ok, report = pcall(json.decode, out)
  assert(ok, ("no JSON (status %d): %s\n%s"):format(status, out, err))
  return report, status
end

-- Plays one seed to a single process, without faults, and returns what it printed.
function play.printed(text, ...)
  local report = play.report(text, "--seeds", "1", "--candidates", "1", "--faults", "none", "--story", ...)
  local lines = {}
  for _, event in ipairs(report.story) do
    if event.kind == "print" then lines[#lines + 1] = event.text end
  end
  return lines, report
end

return play
