-- lunarch run: runs a script, as an ordinary program, and then the candidates it has declared.
local Script = require "lunarch.cli.script"
local args = require "lunarch.internal.args"
local etcd = require "lunarch.cli.common.etcd"
local exit = require "lunarch.cli.common.exit"
local facts = require "lunarch.cli.facts"
local flag = require "lunarch.cli.common.flags"
local host = require "lunarch.host"
local log = require "lunarch.cli.log"
local notify = require "lunarch.cli.notify"
local modules = require "lunarch.cli.common.modules"
local settings = require "lunarch.cli.settings"
local signals = require "lunarch.cli.common.signals"
local source = require "lunarch.cli.common.source"
local times = require "lunarch.internal.times"

args.is_ours()

local CHECK_AFTER_S, CHECK_S = 3, 2
local PATIENCE_TTLS = 3
local PATS_PER_LIMIT, LONGEST_PAT_MS = 16, 1000
local STOPPING_TELL_MS = 100
-- What etcd has not answered by then lapses with its lease.
local SHUTDOWN_S = 2
local CLOSE_S = 1

-- ---- the command line -------------------------------------------------------------------------------------------

local command = {
  summary = "run a script, as a candidate or as an ordinary program",
  usage = { "SCRIPT [flags] [arguments of the script]", "-e CODE [flags] [arguments]" },
  description = [[
Runs a Lua script that takes part in elections on etcd.

A script that declares handlers (on_elected, do_work, on_lost, on_leader, do_standby,
on_jeopardy, on_safe) is a candidate until it is stopped; candidate{...} declares further
ones. may_stand and health say whether a candidate is fit: an unfit one does not stand, an
unhealthy leader steps down. Any other script is an ordinary program that may use `lunarch` and
`log`, and ends when it and everything it spawned have ended. `require` finds modules beside the
script.]],
  epilog = [[
A setting may stand in the script as a global (election, name, ttl, interval, endpoints, prefix,
cacert ...). Flags win over the environment, the environment wins over the script; LUNARCH_...
wins over ETCDCTL_...

Environment: LUNARCH_ENDPOINTS, ETCDCTL_ENDPOINTS, and in the same way CACERT, CERT, KEY,
SERVER_NAME, INSECURE_SKIP_TLS_VERIFY, USER, PASSWORD, PASSWORD_FILE; LUNARCH_PREFIX,
LUNARCH_ONLY_GIVEN_ENDPOINTS; NO_COLOR; with --dev ETCD, the etcd program to use (otherwise the one on the PATH).

Exit status: 0 done, or stopped by a first signal as a candidate; 1 the script failed;
2 something is wrong that trying again cannot help; 128 + n ended by signal n.]],
}

command.rewrite = etcd.rewrite

function command.define(parser)
  parser:argument("script", "the script to run; - is read from stdin"):args "?"
  parser:option("-e", "run this code; the value of an expression is printed; exit status 1: a call that failed")
    :argname("CODE"):target "code"
  parser:argument("args", "what the script finds in `arg`; put -- before what begins with a dash"):args "*"
  settings.define(parser)
  etcd.define(parser)
  parser:option("--listen", "answer HTTP requests at HOST:PORT or PORT: /leader /healthz /ready /metrics /status")
    :argname("ADDRESS")
  parser:option("--log", "how to write the log to stderr: text or json (default: text)")
    :argname("FORMAT"):choices { "text", "json" }
  parser:option("--log-level", "the least level that is written: debug, info, warn or error (default: info)")
    :argname("LEVEL"):choices(log.LEVELS)
end

-- ---- a script's life --------------------------------------------------------------------------------------------

local Run = setmetatable({}, { __index = Script })
Run.__index = Run

-- A script that waits for an etcd that is not there should not do so without a word.
function Run:check(client, hint)
  local members, _, code = client:status(CHECK_S)
  if code == "closed" then return end
  for _, member in ipairs(members or {}) do
    if not member.error then return end
  end
  self.log.warn("no etcd answers at %s%s; still waiting for it%s", table.concat(client.endpoints, ","),
    members and members[1] and ": " .. members[1].error or "", hint)
end

function Run:check_later(client, hint)
  local timer = require "luv".new_timer()
  local weak = setmetatable({ client = client }, { __mode = "v" })
  timer:start(CHECK_AFTER_S * 1000, 0, function()
    self.timers[timer] = nil
    if weak.client then self.lunarch.spawn(self.check, self, weak.client, hint) end
  end)
  timer:unref()
  self.timers[timer] = true
end

-- Whether a call failed by an endpoint that is none: that cannot be used now, and never can.
local function is_bad_endpoint(message)
  return message:find("endpoint ", 1, true) ~= nil
end

-- The options of a client that says what it has to say in our log.
local function with_log(options)
  if options ~= nil and type(options) ~= "table" then return options end
  local copy = { log = function(level, sentence) log[level]("%s", sentence) end }
  for name, value in pairs(options or {}) do
    copy[name] = value
  end
  return copy
end

-- Clients that a script makes for itself.
function Run:watch_connect()
  local connect = self.lunarch.connect
  self.connect_quietly = function(options)
    local ok, client, message, code = pcall(connect, with_log(options))
    if ok and client then return client end
    local trouble = args.error_text(ok and message or client)
    if code == "invalid" or is_bad_endpoint(trouble) then self.hopeless[trouble] = true end
    if not ok then error(trouble, 0) end
    return nil, trouble, code
  end
  self.lunarch.connect = function(options)
    local client, message, code = self.connect_quietly(options)
    if client then self:check_later(client, etcd.is_default(options and options.endpoints) and etcd.HINT or "") end
    return client, message, code
  end
end

function Run:connect()
  if not self.client then
    local options, endpoints = etcd.options_of_script(_G, self.flag_endpoints, self.log)
    options.name = self.given.name or rawget(_G, "name") or self.default_name
    local client, message = self.connect_quietly(options)
    if not client then args.misuse("%s", message) end
    self.client = client
    if etcd.is_default(endpoints) then self.hint = etcd.HINT end
  end
  return self.client
end

-- The watchdog speaks where Lua cannot: after so many seconds without a turn of the loop (0: never), and of signals
-- that it does not take. True, or nil and why not.
function Run:watch(limit, text)
  local name = #self.candidates == 1 and self.candidates[1].name or nil
  local silent, is_utc = log.pattern("warn", name, text)
  local ignored = log.pattern("warn", name,
    "told to stop, but the script does not yield; a second signal ends it at once")
  local ended = log.pattern("warn", name, "ended at once by a second signal@LAPSE@")
  return host.watch(limit, silent, ignored, ended, is_utc)
end

-- Before candidates stand, and where there are none, a script may compute as long as it likes.
function Run:watch_signals()
  self:watch(0, "")
end

-- A handler that does not come back to the loop cannot be stopped, and nothing else runs meanwhile.
function Run:watch_loop()
  local least = math.huge
  for _, candidate in ipairs(self.candidates) do
    least = math.min(least, times.ttl(candidate.options))
  end
  local limit = PATIENCE_TTLS * least
  host.unwatch()
  local ok, why = self:watch(limit, ("the script has not yielded for %g s: nothing else runs meanwhile, and it cannot "
    .. "be told to stop; a handler has to wait with lunarch.sleep and the like"):format(limit))
  if not ok then
    self.log.warn("nothing will be said of a handler that does not yield: %s", why)
    return
  end
  self:answer_watchdog()
  self:keep_telling(math.min(limit * 1000 // PATS_PER_LIMIT, LONGEST_PAT_MS))
end

-- The watchdog asks whether the loop turns before it speaks in Lua's place.
function Run:answer_watchdog()
  local poll = require "luv".new_poll(host.question())
  poll:start("r", host.answer)
  poll:unref()
  self.timers[poll] = true
end

-- When the place of a leader lapses if this process ends now, and the TTL; 0, 0: there is no leader here.
function Run:lapse()
  local latest_s, ttl_s = 0, 0
  for _, candidate in ipairs(self.candidates) do
    local term, session = candidate.term, candidate.session
    if term and session then
      local ttl = session.ttl
      latest_s = math.max(latest_s, term:remaining() + times.grace(candidate.options, ttl) + times.margin(ttl))
      ttl_s = math.max(ttl_s, ttl)
    end
  end
  return latest_s, ttl_s
end

-- Tells the watchdog that the loop turns, and what it would leave behind.
function Run:keep_telling(period_ms)
  local timer = require "luv".new_timer()
  local function tell()
    host.pat()
    host.set_lapse(self:lapse())
  end
  tell()
  timer:start(period_ms, period_ms, tell)
  timer:unref()
  self.timers[timer] = true
end

function Run:make(own)
  local candidate = Script.make(self, own)
  if self.is_draft then return candidate end
  facts.publish(candidate, function()
    notify.status(self.candidates)
    host.set_lapse(self:lapse())
  end)
  return candidate
end

-- A candidate is held up by no reader of its output, whatever drives it.
local function watch_candidates(lunarch)
  local meta = getmetatable(lunarch.candidate)
  local make = meta.__call
  function meta.__call(...)
    host.stand()
    return make(...)
  end
end

function Run:may_stand()
  self.is_standing = true
  if signals.caught() then return false end
  self:watch_loop()
  self:catch_reloads()
  if self.is_reload_due then self:reload() end
  return true
end

-- From now on SIGHUP loads the script anew. Before candidates stand it has to wait.
function Run:catch_reloads()
  if self.catches_reloads then return end
  self.catches_reloads = true
  self.timers[signals.catch_reloads(function() self:reload() end)] = true
end

function Run:reload()
  if signals.caught() then return end
  if self.is_standing then return require("lunarch.cli.reload").start(self) end
  self.is_reload_due = true
  self.log.info "SIGHUP: the script is loaded anew once its main part has ended"
end

-- It declares no candidate after all: SIGHUP ends it, as any program, also one that waited for this.
function Run:be_ordinary()
  if not self.catches_reloads then return end
  local is_asked = signals.end_reloads()
  if is_asked or self.is_reload_due then require "luv".kill(host.pid(), "sighup") end
end

function Run:main(chunk, words)
  Script.main(self, chunk, words)
  if not self.is_standing then self:be_ordinary() end
end

-- What else the script has spawned need not end by itself.
function Run:has_stood()
  if signals.caught() then self.tasks.interrupt_all(self.INTERRUPTED) end
end

local function on_taken()
  host.pat()
  notify.stopping()
end

-- The first signal: candidates stop in order; anything else is interrupted where it waits.
function Run:on_signal()
  on_taken()
  if not self.is_standing then return self.tasks.interrupt_all(self.INTERRUPTED) end
  self:keep_telling(STOPPING_TELL_MS)
  self:stop_candidates()
end

function Run:finish()
  notify.stopping()
  host.unwatch()
  if self.listening then self.listening.stop() end
  for handle in pairs(self.timers) do
    if not handle:is_closing() then handle:stop() end
  end
  if self.client then self.client:close(CLOSE_S) end
  self.client, self.candidates = nil, {}
  collectgarbage()
  self.lunarch.shutdown(SHUTDOWN_S)
end

-- Nil, or what is wrong with the address.
function Run:listen(address)
  local listen = require "lunarch.cli.listen"
  local bound, trouble = listen.start(address)
  if not bound then return trouble end
  self.listening = listen
  self.log.info("listens at http://%s", bound)
  return nil
end

-- Begins to listen, then finds etcd, which may take some time to start: nil, or what is wrong, exit status.
function Run:find_etcd(flags)
  local wrong = flags.listen and self:listen(flags.listen)
  if wrong then return wrong, exit.USAGE end
  local endpoints, trouble, status = etcd.find(flags, self.log)
  if endpoints == nil then return trouble, status end
  self.flag_endpoints = endpoints or nil
  self.given.endpoints = self.flag_endpoints
  return nil
end

-- ---- from the flags to the end ----------------------------------------------------------------------------------

local function new_run(flags, lunarch, given)
  local candidate = require "lunarch.candidate"
  local self = setmetatable({
    lunarch = lunarch, tasks = require "lunarch.loop.task", given = given, script = flags.script,
    candidates = {}, timers = {}, hopeless = {},
    default_name = etcd.default_name(),
  }, Run)
  self.INTERRUPTED = setmetatable({ code = "cancelled" }, { __tostring = function() return "interrupted" end })
  self.log_for = function(name)
    return log.new(function() return name end)
  end
  self.log = log.new(function()
    local current = candidate.current()
    if current then return current.name end
    return #self.candidates == 1 and self.candidates[1].name or nil
  end)
  self.tasks.on_failure = function(task)
    if task.err == self.INTERRUPTED then return end
    self.has_told_failure = true
    self.log.error("a spawned task failed: %s", task.traceback)
  end
  local luv = require "lunarch.loop.luv"
  luv.load "lunarch run"
  luv.CALLBACK_STATUS = exit.FAILED
  function luv.on_callback_error(text)
    self.log.error("a callback failed: %s", text)
  end
  return self
end

local function guard_output()
  log.guard_output()
  local nameless = log.new(function() end)
  require("lunarch.internal.say").warn = function(text) nameless.warn("%s", text) end
end

-- What the script did, and not how we came to call it.
local function without_us(trace)
  return (trace:gsub("\n[^\n]*/lunarch/cli/script%.lua:.*$", ""))
end

-- What ended the script, unless the log has it already.
function Run:tell_failure(text)
  if self.has_told_failure and text:find "^a spawned task failed: " then return end
  self.log.error("%s", without_us(text))
end

-- Trying again does not help where a setting, a handler or an endpoint is wrong.
function Run:status_of(err, text)
  if self:is_mistake(err) then return exit.USAGE end
  for message in pairs(self.hopeless) do
    if text:find(message, 1, true) then return exit.USAGE end
  end
  return exit.FAILED
end

local function prepare(flags, given)
  local chunk, trouble = source.load(flags)
  if not chunk then return nil, trouble end
  trouble = settings.trouble_in(given)
  if trouble then return nil, trouble end
  guard_output()
  local lunarch
  lunarch, trouble = modules.load "lunarch"
  if not lunarch then return nil, trouble end
  watch_candidates(lunarch)
  return chunk, lunarch
end

---@param flags table
---@return integer status
function command.run(flags)
  if flags.code then
    table.insert(flags.args, 1, flags.script)
    flags.script = "code"
  end
  if flags.log_level then log.set_level(flags.log_level) end
  local mistake = not flags.script and "which script?" or etcd.trouble_in(flags)
  if mistake then return flag.complain("run", mistake) end
  local given = settings.of_flags(flags)
  local chunk, lunarch = prepare(flags, given)
  if not chunk then
    log.complain(lunarch)
    return exit.USAGE
  end
  local run = new_run(flags, lunarch, given)
  local trouble, status = run:find_etcd(flags)
  if trouble then
    log.complain(trouble)
    if run.listening then run.listening.stop() end
    return status
  end
  run:set_globals(flags.args, host.prefix .. "/bin/lunarch")
  run:watch_connect()
  modules.look_beside(flags.script)
  signals.catch(function() run:on_signal() end, on_taken)
  run:watch_signals()
  signals.pass_interrupts_on()
  exit.in_order()
  run.timers = notify.start()
  if notify.is_wanted() or given.election or source.declares_candidates(flags) then run:catch_reloads() end
  run.words = flags.args
  run.path = not flags.code and flags.script ~= "-" and flags.script or nil

  local ok, err = pcall(lunarch.run, run.main, run, chunk, flags.args)
  run:finish()
  local signal = signals.caught()
  if signal and not run.is_standing then return exit.SIGNAL + signal end
  if ok then return exit.DONE end
  local text = args.error_text(err)
  run:tell_failure(text)
  return run:status_of(err, text)
end

return command
