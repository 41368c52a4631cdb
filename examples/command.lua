-- A leader that runs commands: something to start when elected, to look after, and to stop when the term is over.
--
--   lunarch examples/command.lua --dev                 in two terminals; stop the leader with Ctrl-C or Ctrl-Z
--
-- A command never outlives its term: at the end it gets SIGTERM, then SIGKILL, before another can be elected, even if
-- this program is stopped or killed meanwhile. Here the commands only say what they would do.
local lunarch = require "lunarch"

election = "/examples/command"
ttl      = 5

local function run(...)
  local result, message = lunarch.exec { timeout = 10, ... }
  if not result then return nil, message end
  if result.code ~= 0 then return nil, ("%s: status %s: %s"):format(..., result.code or "none", result.stderr) end
  return result.stdout:gsub("\n$", "")
end

function on_elected(term)
  log.info("%s", assert(run("echo", "promoted, token", term.token)))
end

function do_work()
  log.info("%s", assert(run("date", "+serving at %T")))
  -- One that takes too long, and every line as it comes.
  local _, message, code = lunarch.exec {
    "sh", "-c", "for n in 1 2 3 4 5; do echo step $n; sleep 1; done", timeout = 2.5,
    on_line = function(line) log.info("backup: %s", line) end,
  }
  log.info("backup: %s", code == "timeout" and message or "done")
  return 3
end

function on_lost(_, reason)
  local said, message = run("echo", "demoted:", reason)
  log.warn("%s", said or message)
end
