-- Runs a script: as an ordinary program, and then the candidates it has declared.
local args = require "lunarch.args"
local Script = require "lunarch.cli.script"
local host = require "lunarch.host"
local load_module = require "lunarch.cli.load"

args.is_ours()

local SIGINT = 2
local FAILED = 1
local USAGE_ERROR = 2
local CHECK_AFTER_S, CHECK_S = 3, 2
local DEFAULT_TTL_S = 10
local PATIENCE_TTLS = 3
local PATS_PER_LIMIT = 16
-- What etcd has not answered by then lapses with its lease.
local SHUTDOWN_S = 2
local CLOSE_S = 1

local function say(text)
  host.log("lunarch: " .. text .. "\n")
end

-- What the script did, and not how we came to call it.
local function without_us(trace)
  return (trace:gsub("\n[^\n]*/lunarch/cli/script%.lua:.*$", ""))
end

-- ---- where etcd is ----------------------------------------------------------------------------------------------

-- What flags say goes into the environment: there lunarch.connect() finds it, and so do programs started by the script.
local function set_endpoints(endpoints)
  require "luv".os_setenv("LUNARCH_ENDPOINTS", endpoints)
end

local function find_etcd(flags, given, log)
  if flags.endpoints then set_endpoints(flags.endpoints) end
  if not flags.dev then return true end
  local dev = require "lunarch.cli.dev"
  local endpoint, etcd = dev.join()
  if not endpoint then
    say("--dev: " .. etcd)
    return false
  end
  set_endpoints(endpoint)
  given.endpoints = endpoint
  log.info("private etcd at %s, in %s", endpoint, etcd.dir)
  dev.watch(etcd, log)
  return true
end

local function is_set(name)
  local value = os.getenv(name)
  return value ~= nil and value ~= ""
end

-- The environment wins over the script.
local function endpoints_of(globals)
  if is_set "LUNARCH_ENDPOINTS" or is_set "ETCDCTL_ENDPOINTS" then return nil end
  return globals.endpoints
end

-- ---- a script's life --------------------------------------------------------------------------------------------

local Run = setmetatable({}, { __index = Script })
Run.__index = Run

Run.hint = " (--endpoints tells where it is, --dev brings one)"

-- A script that waits for an etcd that is not there should not do so without a word.
function Run:check(client)
  local members, _, code = client:status(CHECK_S)
  if code == "closed" then return end
  for _, member in ipairs(members or {}) do
    if not member.error then return end
  end
  local endpoints = table.concat(client.endpoints, ",")
  self.log.warn("no etcd answers at %s%s; still waiting for it%s",
    endpoints, members and members[1] and ": " .. members[1].error or "", self.hint)
end

function Run:check_later(client)
  local timer = require "luv".new_timer()
  local weak = setmetatable({ client = client }, { __mode = "v" })
  timer:start(CHECK_AFTER_S * 1000, 0, function()
    self.timers[timer] = nil
    if weak.client then self.lunarch.spawn(self.check, self, weak.client) end
  end)
  timer:unref()
  self.timers[timer] = true
end

-- What is wrong with the environment is wrong with the flag that was put there.
local function blaming_flag(connect)
  local function blame(text)
    return type(text) == "string" and text:gsub("LUNARCH_ENDPOINTS: ", "--endpoints: ", 1) or text
  end
  return function(options)
    local client, message, code = connect(options)
    return client, blame(message), code
  end
end

-- Clients that a script makes for itself.
function Run:watch_connect(flags)
  local connect = self.lunarch.connect
  if flags.endpoints then connect = blaming_flag(connect) end
  self.connect_quietly = connect
  self.lunarch.connect = function(options)
    local client, message, code = connect(options)
    if client then self:check_later(client) end
    return client, message, code
  end
end

function Run:connect()
  if not self.client then
    local client, message = self.connect_quietly {
      endpoints = endpoints_of(_G), name = self.given.name or _G.name or self.default_name,
    }
    if not client then args.misuse("%s", message) end
    self.client = client
  end
  return self.client
end

-- A handler that does not come back to the loop cannot be stopped, and nothing else runs meanwhile.
function Run:watch_loop()
  local least = math.huge
  for _, candidate in ipairs(self.candidates) do
    least = math.min(least, candidate.options.ttl or DEFAULT_TTL_S)
  end
  local limit = PATIENCE_TTLS * least
  local name = #self.candidates == 1 and self.candidates[1].name or nil
  local text = ("the script has not yielded for %g s: nothing else runs meanwhile, and it cannot be told to stop; "
    .. "a handler has to wait with lunarch.sleep and the like"):format(limit)
  local log = require "lunarch.cli.log"
  local silent, is_utc = log.pattern("warn", name, text)
  local ignored = log.pattern("warn", name,
    "told to stop, but the script does not yield; a second signal ends it at once")
  if not host.watch(limit, silent, ignored, is_utc) then return end
  local timer = require "luv".new_timer()
  local period_ms = limit * 1000 // PATS_PER_LIMIT
  timer:start(period_ms, period_ms, host.pat)
  timer:unref()
  self.timers[timer] = true
end

-- What stands in line is held up by no reader of its output, whoever drives it.
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
  if host.caught_signal() then return false end
  self:watch_loop()
  return true
end

-- What else the script has spawned need not end by itself.
function Run:has_stood()
  if host.caught_signal() then self.tasks.interrupt_all(self.INTERRUPTED) end
end

-- The first signal: candidates stop in order; anything else is interrupted where it waits.
function Run:on_signal()
  if not self.is_standing then return self.tasks.interrupt_all(self.INTERRUPTED) end
  self:stop_candidates()
end

function Run:catch_signals()
  local uv = require "luv"
  local poll = assert(uv.new_poll(assert(host.catch_signals())))
  poll:start("r", function()
    poll:stop()
    host.pat()
    self:on_signal()
  end)
  poll:unref()
end

-- While libc waits for a command it ignores Ctrl-C: what ended the command was meant for us as well.
local function pass_interrupts_on()
  local execute = os.execute
  rawset(os, "execute", function(...)
    local ok, how, number = execute(...)
    if how == "signal" and number == SIGINT or how == "exit" and number == 128 + SIGINT then
      require "luv".kill(host.pid(), SIGINT)
    end
    return ok, how, number
  end)
end

-- luv 1.44 crashes in lua_close() while the closing of a handle is still to be told.
local function may_close_lua()
  local is_safe = true
  require "luv".walk(function(handle)
    if handle:is_closing() then is_safe = false end
  end)
  return is_safe
end

-- Who ends in the middle gives up what he holds, as one who comes to the end: only a closed Lua does that.
local function exit_in_order()
  local exit = os.exit
  rawset(os, "exit", function(status, is_closing)
    if is_closing == nil then is_closing = may_close_lua() end
    exit(status, is_closing)
  end)
end

function Run:finish()
  host.unwatch()
  for timer in pairs(self.timers) do
    timer:stop()
  end
  if self.client then self.client:close(CLOSE_S) end
  self.client, self.candidates = nil, {}
  collectgarbage()
  self.lunarch.shutdown(SHUTDOWN_S)
end

-- ---- from the flags to the end ----------------------------------------------------------------------------------

local function new_run(flags, lunarch, given)
  local log = require "lunarch.cli.log"
  local candidate = require "lunarch.candidate"
  local self = setmetatable({
    lunarch = lunarch, tasks = require "lunarch.loop.task", given = given, script = flags.script,
    candidates = {}, timers = {}, default_name = ("%s-%d"):format(host.hostname() or "localhost", host.pid()),
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
    if task.err ~= self.INTERRUPTED then self.log.error("a spawned task failed: %s", task.traceback) end
  end
  return self
end

-- A reader of stdout or stderr who sleeps holds up nobody.
local function guard_output(format)
  local log = require "lunarch.cli.log"
  log.set_format(format)
  assert(host.guard_output())
  host.set_notice(log.pattern("warn", nil, "@N@ dropped: @WHY@"))
  require "lunarch.say".write = host.log
end

---@return integer status
return function(flags)
  local chunk, trouble = loadfile(flags.script)
  if not chunk then
    say(trouble)
    return USAGE_ERROR
  end
  local settings = require "lunarch.cli.settings"
  local given = settings.of_flags(flags)
  trouble = settings.trouble_in(given)
  if trouble then
    say(trouble)
    return USAGE_ERROR
  end
  guard_output(flags.log or "text")
  local lunarch = load_module("lunarch", say)
  if not lunarch then return FAILED end
  watch_candidates(lunarch)
  local run = new_run(flags, lunarch, given)
  if not find_etcd(flags, given, run.log) then return FAILED end
  run:set_globals(flags.args, host.prefix .. "/bin/lunarch")
  run:watch_connect(flags)
  run:catch_signals()
  pass_interrupts_on()
  exit_in_order()

  local ok, message = pcall(lunarch.run, run.main, run, chunk, flags.args)
  run:finish()
  local signal = host.caught_signal()
  if signal and (not run.is_standing) then return 128 + signal end
  if ok then return 0 end
  run.log.error("%s", without_us(args.error_text(message)))
  return FAILED
end
