-- Commands: other programs, waited for like any other call, and ended in time.
--
-- C starts a supervisor for each, which ends the command's process group whatever this process does (base/command.h).
-- Here is what a command may take: its own time, and that of the term it runs in.
local args = require "lunarch.internal.args"
local commands = require "lunarch.commands"
local connection = require "lunarch.internal.connection"
local core = require "lunarch.core"
local each = require "lunarch.internal.each"
local loop = require "lunarch.loop"

args.is_ours()

local exec = {}

local KILL_AFTER_S = 2
local KEEP_BYTES = 1024 * 1024
local MOST_KEPT = 256 * 1024 * 1024
local LOOK_S = 0.005

-- ---- what is given ------------------------------------------------------------------------------------------------

local function env_check(call, name, value)
  if type(value) ~= "table" then args.bad(call, name, "a table of variables by name", value) end
  for variable, text in each(value) do
    if type(variable) ~= "string" or variable == "" or variable:find "[=%z]" then
      args.misuse("%s: '%s' holds %s where the name of a variable should stand", call, name, args.describe(variable))
    end
    local is_text = type(text) == "string" and not text:find "%z"
    if not is_text and type(text) ~= "number" and text ~= false then
      args.bad(call, name .. "." .. variable, "a string, a number, or false to take the variable away", text)
    end
  end
  return value
end

local function keep_check(call, name, value)
  args.whole(call, name, value)
  if value > MOST_KEPT then args.bad(call, name, ("at most %d bytes"):format(MOST_KEPT), value) end
  return value
end

-- Whatever is held by a session, or the session.
local function term_check(call, name, value)
  local election = type(value) == "table" and value.election
  local session = type(value) == "table" and (value.session or type(election) == "table" and election.session or value)
  if type(session) ~= "table" or not args.members(session) or not session.lease then
    args.bad(call, name, "a term, a mutex or a session", value)
  end
  return session
end

local OPTIONS = {
  timeout = args.seconds, kill_after = args.seconds, keep = keep_check, env = env_check, cwd = args.word,
  stdin = args.string, on_line = args.callable, term = term_check,
}

local function word_of(call, i, value)
  if type(value) == "number" then return args.decimal("%.14g", value) end
  if type(value) ~= "string" or value:find "%z" then
    args.bad(call, ("argument %d"):format(i - 1), "a string without a zero byte, or a number", value)
  end
  return value
end

--- The words of the command, and its options; raises where they are wrong.
function exec.parse(call, given)
  if type(given) ~= "table" then args.bad(call, "command", "a table { \"program\", \"argument\", ... }", given) end
  local words, options, n = {}, {}, #given
  for name, value in each(given) do
    local is_word = type(name) == "number" and name >= 1 and name <= n and name == math.floor(name)
    if not is_word then options[name] = value end
  end
  args.options(call, options, OPTIONS)
  args.word(call, "program", given[1])
  for i = 1, n do
    words[i] = word_of(call, i, given[i])
  end
  return words, options
end

-- ---- the time it has ----------------------------------------------------------------------------------------------

-- Seconds before valid_until at which a command gets SIGTERM and SIGKILL. Between stop_at and valid_until, the grace,
-- the work's commands go first, for on_lost comes after their end.
local function limits_of_work(grace)
  return grace, grace * 2 / 3
end

local function limits_of_on_lost(grace, left)
  return math.min(grace / 2, left * 2 / 3), math.min(grace / 4, left / 3)
end

-- The session behind it, and these seconds; nil: no session ends it. False: SIGTERM would be due at once. In on_lost a
-- session that is over is no hindrance: what could not be undone in time is undone late.
local function bounds_of(call, options)
  local task = not options.term and loop.current()
  local bound = task and task.bound
  local session = options.term and term_check(call, "term", options.term) or bound and bound.session
  if not session then return nil end
  local stop_at, valid_until = session.stop_at, session.valid_until
  local left = valid_until and valid_until - core.now() or 0
  local is_after = bound and bound.is_after
  if not stop_at or left <= 0 then return not is_after and false or nil end
  if is_after then return session, limits_of_on_lost(valid_until - stop_at, left) end
  local grace = valid_until - stop_at
  if left <= grace then return false end
  return session, limits_of_work(grace)
end

-- ---- how it ended -------------------------------------------------------------------------------------------------

local STAGE = { chdir = 1, fork = 2, exec = 3, supervisor = 4, over = 5 }
local CAUSE = { timeout = 1, lapsed = 2, asked = 3 }
local ENOENT, E2BIG, ENOEXEC, EACCES, ENOTDIR, EISDIR, ENAMETOOLONG, ELOOP = 2, 7, 8, 13, 20, 21, 36, 40

local CODES = {
  [ENOENT] = "invalid", [ENOTDIR] = "invalid", [ENOEXEC] = "invalid", [E2BIG] = "invalid", [EISDIR] = "invalid",
  [ENAMETOOLONG] = "invalid", [ELOOP] = "invalid", [EACCES] = "permission_denied",
}

local function why_not_run(words, outcome)
  local program, error_number = words[1], outcome.error
  if error_number == ENOENT and not program:find "/" then return "not found in PATH" end
  if error_number == ENOENT then return "there is no such file, or the interpreter that it names is missing" end
  if error_number == EACCES then return "no permission to execute it, or to enter a folder above it" end
  if error_number == ENOEXEC then return "it is no program, and does not begin with #!" end
  if error_number == EISDIR then return "it is a folder" end
  return outcome.error_text
end

local function term_over(call, words)
  return nil, ("%s: %s: the term is over"):format(call, words[1]), "lost"
end

-- As base/command.c has it of what this process may.
local EAGAIN, EMFILE = 11, 24
local HINTS = { [EAGAIN] = " (ulimit -u, or the limit of the control group)", [EMFILE] = " (ulimit -n)" }

local function not_started(call, words, options, outcome)
  local stage, text = outcome.stage
  if stage == STAGE.over then return term_over(call, words) end
  if stage == STAGE.supervisor then
    text = "the process that watches over it was killed, and the command with it"
    return nil, ("%s: %s: %s"):format(call, words[1], text), "unknown"
  elseif stage == STAGE.chdir then
    text = ("cannot go to %s: %s"):format(options.cwd, outcome.error_text)
  elseif stage == STAGE.fork then
    text = ("no process or descriptor for it: %s%s"):format(outcome.error_text, HINTS[outcome.error] or "")
  else
    text = why_not_run(words, outcome)
  end
  local code = stage ~= STAGE.fork and CODES[outcome.error] or "unavailable"
  return nil, ("%s: %s: %s"):format(call, words[1], text), code
end

--- What lunarch.exec returns, from how the command ended.
function exec.results(call, words, options, outcome)
  if outcome.stage ~= 0 then return not_started(call, words, options, outcome) end
  local result = {
    code = outcome.code, signal = outcome.signal, stdout = outcome.stdout, stderr = outcome.stderr,
    stdout_dropped = outcome.stdout_dropped, stderr_dropped = outcome.stderr_dropped,
  }
  if outcome.cause == CAUSE.timeout then
    local message = ("%s: %s: took longer than %g s, and was ended"):format(call, words[1], options.timeout)
    return nil, message, "timeout", result
  elseif outcome.cause == CAUSE.lapsed then
    return nil, ("%s: %s: ended with its term"):format(call, words[1]), "lost", result
  elseif outcome.cause == CAUSE.asked then
    return nil, ("%s: %s: cancelled"):format(call, words[1]), "cancelled", result
  end
  return result
end

-- ---- running it ---------------------------------------------------------------------------------------------------

local hub

-- One for the Lua state; in a forked child another one.
local function the_hub()
  if hub and hub.core:is_ours() then return hub end
  local opened, message, code = commands.open()
  if not opened then return nil, message, code end
  hub = loop.new_hub(opened)
  return hub
end

local function nap()
  local world = loop.world()
  if world.nap and world.wait_mode() ~= "block" then world.nap(LOOK_S) else core.sleep(LOOK_S) end
end

-- Nothing else of the caller's goes on before the command is gone.
local function end_and_wait(own, id)
  own.core:cancel(id)
  while own.core:is_running(id) do
    nap()
  end
end

-- In nginx a request may end in the middle of on_line, by ngx.exit or because the client goes: its command ends then.
local function cancel_where_ended(own, id)
  return loop.unless_ended(function() own.core:cancel(id) end)
end

local function follow(own, id, token, on_line)
  local unguard = on_line and cancel_where_ended(own, id)
  while true do
    local lines, outcome = loop.await(own, id, false, token, own)
    for _, line in ipairs(lines or {}) do
      on_line(line[1], line[2])
    end
    if lines and not outcome then own.core:remind(id) end -- of what came while on_line waited
    if outcome then
      if unguard then unguard() end
      return outcome
    end
  end
end

local function start(call, words, options)
  local session, term_before, kill_before = bounds_of(call, options)
  if session == false then return term_over(call, words) end
  local own, message, code = the_hub()
  local id, token
  if own then
    id, token, code = own.core:start {
      argv = words, env = connection.without_secrets(options.env), cwd = options.cwd, stdin = options.stdin,
      timeout = options.timeout, kill_after = math.min(options.kill_after or KILL_AFTER_S, 1e6),
      keep = options.keep or KEEP_BYTES, wants_lines = options.on_line ~= nil, session = session and session._core,
      term_before = term_before or 0, kill_before = kill_before or 0,
    }
    message = token
  end
  if not id then return nil, ("%s: %s: %s"):format(call, words[1], message), code end
  return own, id, token
end

local CALL = "lunarch.exec"

--- See library/lunarch.d.lua.
function exec.run(given)
  local words, options = exec.parse(CALL, given)
  loop.enter()
  local own, id, token = start(CALL, words, options)
  if not own then return nil, id, token end
  local ok, outcome = pcall(follow, own, id, token, options.on_line)
  if not ok then
    end_and_wait(own, id)
    error(outcome, 0)
  end
  return exec.results(CALL, words, options, outcome)
end

return exec
