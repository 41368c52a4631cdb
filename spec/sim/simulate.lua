-- Plays scripts of specs with `lunarch sim`.
local json = require "cjson"
local process = require "support.process"
local script = require "host.script"
local wait = require "support.wait"

local simulate = {}

-- Starts it on the script at `path`, with these flags.
---@return Process
function simulate.start(path, ...)
  return process.start { "lunarch", "sim", path, ... }
end

-- To its end: what it printed on stdout, its status, and what it said on stderr.
function simulate.file(path, ...)
  local child = simulate.start(path, ...)
  local status = child:wait_exit(5 * wait.LIMIT) -- it says that it is alive, and is as fast as the machine
  local out, err = {}, {}
  for _, line in ipairs(child:lines()) do
    local list = line.from == "out" and out or err
    list[#list + 1] = line.text
  end
  return table.concat(out, "\n"), status, table.concat(err, "\n")
end

-- A script of this text.
function simulate.text(text, ...)
  return simulate.file(script.write(text), ...)
end

-- What came of it as a table: see lunarch.cli.sim.report.
function simulate.report(text, ...)
  local out, status, err = simulate.text(text, "--json", ...)
  local ok, report = pcall(json.decode, out)
  assert(ok, ("no JSON (status %d): %s\n%s"):format(status, out, err))
  return report, status
end

-- Plays one seed to a single process, without faults, and returns what it printed.
function simulate.printed(text, ...)
  local report = simulate.report(text, "--seeds", "1", "--candidates", "1", "--faults", "none", "--timeline", ...)
  local lines = {}
  for _, event in ipairs(report.timeline) do
    if event.kind == "print" then lines[#lines + 1] = event.text end
  end
  return lines, report
end

return simulate
