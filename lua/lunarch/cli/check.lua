-- lunarch check: what would be wrong with a script, without standing in any election.
local Script = require "lunarch.cli.script"
local args = require "lunarch.internal.args"
local candidate_options = require "lunarch.candidate.options"
local connection = require "lunarch.internal.connection"
local effects = require "lunarch.cli.common.effects"
local etcd = require "lunarch.cli.common.etcd"
local exit = require "lunarch.cli.common.exit"
local flag = require "lunarch.cli.common.flags"
local host = require "lunarch.host"
local log = require "lunarch.cli.log"
local modules = require "lunarch.cli.common.modules"
local patience = require "lunarch.cli.common.patience"
local programs = require "lunarch.cli.common.programs"
local settings = require "lunarch.cli.settings"
local source = require "lunarch.cli.common.source"
local times = require "lunarch.internal.times"

args.is_ours()

local ANSWER_S = 5
local CLOSE_S, SHUTDOWN_S = 1, 2
local WITHIN_S = 10          -- for the main part
local INSIST_S = 1           -- so long after it is ended where it does not end by an error
local LAST_S = 5             -- for what a script wants to do when all is said (finalizers)
local LEAST_TTL_S = 2

local LATE = "its main part has not ended within %g s%s"

local command = {
  summary = "look for mistakes in a script without running its candidates",
  usage = { "SCRIPT [flags]" },
  description = [[
Looks at a script, and at etcd, and says what is wrong: syntax, settings, misspelt handlers, times that
cannot fit, certificates and keys that cannot be read or do not belong together, endpoints that do
not answer, commands that are not there. The script's main part runs, up to its first call that
would change something or begin what goes on later (a command, a connection, a task, a file that
is written, a timer or socket of luv); no handler is called. What it prints goes to stderr.]],
  epilog = [[
Exit status: 0 nothing is wrong, though there may be warnings; 2 something is.]],
}

command.rewrite = etcd.rewrite

function command.define(parser)
  parser:argument("script", "the script to look at"):args "?"
  parser:argument("args", "what the script finds in `arg`"):args "*"
  settings.define(parser)
  etcd.define(parser)
  parser:flag("--offline", "do not ask etcd: it may be away when a service starts")
  parser:option("--within", ("how long the script's main part may take (default: %d)"):format(WITHIN_S))
    :argname("SECONDS"):convert(flag.positive_seconds "--within")
  parser:flag("--json", "for programs: one JSON value")
end

-- ---- what is found ----------------------------------------------------------------------------------------------

local Check = setmetatable({}, { __index = Script })
Check.__index = Check

function Check:add(level, format, ...)
  local text = select("#", ...) > 0 and format:format(...) or format
  for _, problem in ipairs(self.problems) do
    if problem.text == text then return end
  end
  self.problems[#self.problems + 1] = { level = level, text = text }
end

function Check:count(level)
  local n = 0
  for _, problem in ipairs(self.problems) do
    if problem.level == level then n = n + 1 end
  end
  return n
end

-- ---- the script -------------------------------------------------------------------------------------------------

-- Candidates that bring no client share one, which nothing is asked of yet.
function Check:connect()
  if not self.client then
    local options = etcd.options_of_script(_G, self.flag_endpoints, self.log)
    self.client = self:open(options)
  end
  return self.client or {}
end

-- A client, or nil where something is wrong with its options.
function Check:open(options)
  options.log = function(level, text) self:add(level == "error" and "error" or "warning", text) end
  local ok, client, message = pcall(self.connect_to, options)
  if ok and client then return client end
  self:add("error", args.error_text(ok and message or client))
  return nil
end

-- A misspelt handler does not keep the rest from being looked at.
function Check:check_spelling(known_before)
  local ok, err = pcall(Script.check_spelling, self, known_before)
  if ok then return end
  for line in args.error_text(err):gmatch "[^\n]+" do
    self:add("error", line)
  end
end

-- From now on there is an answer after so many seconds, whatever the script does: that it is late.
function Check:be_late_after(seconds, format, ...)
  local n = #self.problems
  self:add("error", format, ...)
  assert(host.answer_in_time(seconds, self:answer(), exit.USAGE))
  self.problems[n + 1] = nil
end

-- Where it catches the error that ends it, or blocks, it is not waited for.
function Check:on_late(place)
  self.is_late = true
  -- What it has spoilt is not mended yet: if this fails, the answer of be_late_after is given.
  pcall(function()
    self:add("error", LATE, self.within, place and (" (it is at %s)"):format(place) or "")
    assert(host.answer_in_time(INSIST_S, self:answer(), exit.USAGE))
  end)
end

-- Its main part has ended, or waits for what never comes. The call that had an effect, in words, or nil.
function Check:end_reading()
  if not self.mend then return nil end
  self.mend()
  self.mend = nil
  local effect = self.restore()
  assert(host.answer_in_time())
  return effect
end

-- Runs its main part.
function Check:read(chunk, words)
  self.mend, self.restore = effects.keep_library(), effects.refuse(self.lunarch)
  self:be_late_after(self.within + INSIST_S, LATE, self.within, "")
  local ok, err = patience.call(self.within, function(place) self:on_late(place) end, self.declare_all, self, chunk,
    words)
  local effect = self:end_reading()
  if self.is_late then return end
  if effect then
    self:add("note", "the script was looked at as far as its first call that has an effect: %s", effect)
  elseif not ok then
    self:add("error", args.error_text(err))
  elseif not self.candidates[1] then
    self:add("note", "it declares no handlers: an ordinary program, that stands in no election")
  end
end

-- ---- commands ---------------------------------------------------------------------------------------------------

function Check:look_at_commands(candidate)
  for name in pairs(candidate_options.checks) do
    local check = candidate.options[name]
    local trouble = candidate_options.is_command(check) and programs.trouble(check)
    if trouble then
      self:add("error", "%s%s: the command cannot be run: %s", self:prefix_of(candidate), name, trouble)
    end
  end
end

-- ---- times ------------------------------------------------------------------------------------------------------

-- Which of several candidates is meant.
function Check:prefix_of(candidate)
  return #self.candidates > 1 and candidate.name .. ": " or ""
end

function Check:look_at_times(candidate)
  local options = candidate.options
  local ttl = math.max(times.ttl(options), LEAST_TTL_S)
  local grace = times.grace(options, ttl)
  local who = self:prefix_of(candidate)
  if options.ttl and options.ttl < ttl then
    self:add("warning", "%sttl = %d: etcd grants no less than %d s unless it is set up for it", who, options.ttl, ttl)
  end
  local stop_s = candidate.stop_timeout
  if candidate.handlers.on_lost and stop_s > grace then
    self:add(options.stop_timeout and "warning" or "note", "%son_lost may take %g s (stop_timeout), you have %.1f "
      .. "(grace): when etcd does not answer, another may lead before it has returned", who, stop_s, grace)
  end
  if options.health_timeout and options.health_interval and options.health_timeout > options.health_interval then
    self:add("warning", "%shealth_timeout = %g is longer than health_interval = %g: a check that is late holds up the "
      .. "next", who, options.health_timeout, options.health_interval)
  end
end

-- ---- etcd -------------------------------------------------------------------------------------------------------

function Check:ask(client)
  local members, message = client:status(ANSWER_S)
  if not members then return self:add("error", "etcd at %s: %s", table.concat(client.endpoints, ","), message) end
  local n_silent = 0
  for _, member in ipairs(members) do
    if member.error then n_silent = n_silent + 1 end
  end
  for _, member in ipairs(members) do
    self.endpoints[#self.endpoints + 1] = { endpoint = member.endpoint, error = member.error, version = member.version }
    if member.error then
      self:add(n_silent == #members and "error" or "warning", "etcd at %s: %s", member.endpoint, member.error)
    elseif member.alarms and member.alarms[1] then
      self:add("warning", "etcd at %s: alarm %s", member.endpoint, table.concat(member.alarms, ", "))
    end
  end
end

-- Every client that the candidates would have.
function Check:open_clients()
  local clients = { self.client }
  for _, candidate in ipairs(self.candidates) do
    if not candidate.options.client then
      local options = connection.pick(candidate.options)
      options.endpoints = candidate.options.endpoints
      clients[#clients + 1] = self:open(options)
    end
  end
  if not self.candidates[1] and not clients[1] then
    self:connect()
    clients[1] = self.client
  end
  return clients
end

function Check:look_at_etcd(is_offline)
  local clients = self:open_clients()
  for _, client in ipairs(clients) do
    if not is_offline then self:ask(client) end
    client:close(CLOSE_S)
  end
end

-- ---- the answer -------------------------------------------------------------------------------------------------

local function describe(candidate)
  local options = candidate.options
  local ttl = times.ttl(options)
  return {
    name = candidate.name, election = candidate.election_name, ttl = ttl, grace = times.grace(options, ttl),
    interval = candidate.interval, stop_timeout = candidate.stop_timeout,
  }
end

local function plural(n, word)
  return ("%d %s%s"):format(n, word, n == 1 and "" or "s")
end

-- As in the log: what a journal reads bears its priority.
local PRIORITIES = { error = "<3>", warning = "<4>", note = "<6>" }

function Check:text()
  local lines = {}
  local function line(format, ...)
    lines[#lines + 1] = (self.is_for_journal and PRIORITIES.note or "") .. format:format(...)
  end
  for _, candidate in ipairs(self.candidates) do
    local it = describe(candidate)
    line("%s stands in %s: TTL %d s, told to stop %.1f s before its end", it.name, it.election, it.ttl, it.grace)
  end
  for _, it in ipairs(self.endpoints) do
    if not it.error then line("etcd at %s answers: %s", it.endpoint, it.version) end
  end
  for _, problem in ipairs(self.problems) do
    local priority = self.is_for_journal and PRIORITIES[problem.level] or ""
    local text = problem.text:gsub("\n", "\n" .. priority .. "    ")
    lines[#lines + 1] = ("%s%s: %s"):format(priority, problem.level, text)
  end
  line("%s: %s, %s", self.script, plural(self:count "error", "mistake"), plural(self:count "warning", "warning"))
  return table.concat(lines, "\n") .. "\n"
end

function Check:json()
  local candidates = {}
  for i, candidate in ipairs(self.candidates) do
    candidates[i] = describe(candidate)
  end
  return require("lunarch.look.json").encode {
    script = self.script, ok = self:count "error" == 0, candidates = candidates, endpoints = self.endpoints,
    problems = self.problems,
  } .. "\n"
end

function Check:answer()
  return self.is_for_programs and self:json() or self:text()
end

-- ---- from the flags to the end ----------------------------------------------------------------------------------

local function new_check(flags, given, lunarch)
  local self = setmetatable({
    lunarch = lunarch, connect_to = lunarch.connect, script = flags.script, given = given, candidates = {},
    problems = {}, endpoints = {}, within = flags.within or WITHIN_S, is_for_programs = flags.json,
    is_for_journal = host.is_journal(1), default_name = etcd.default_name(),
  }, Check)
  local function say(level)
    return function(...) self:add(level, ...) end
  end
  local function nothing() end
  self.log = { debug = nothing, info = nothing, warn = say "warning", error = say "error" }
  self.log_for = function() return self.log end
  return self
end

function Check:run(chunk, flags)
  if chunk then self:read(chunk, flags.args) end
  for _, candidate in ipairs(self.candidates) do
    self:look_at_times(candidate)
    self:look_at_commands(candidate)
  end
  self:look_at_etcd(flags.offline)
end

-- The script as a function, or nil.
function Check:load(flags)
  self:be_late_after(self.within, "the script cannot be read: nothing has come of it within %g s", self.within)
  local chunk, trouble = source.load(flags)
  assert(host.answer_in_time())
  if not chunk then self:add("error", trouble) end
  self:set_globals(flags.args, host.prefix .. "/bin/lunarch")
  modules.look_beside(flags.script)
  return chunk
end

---@return integer status
function Check:finish()
  local status = self:count "error" == 0 and exit.DONE or exit.USAGE
  local ok, message = host.answer_with(self:answer())
  if not ok then
    log.complain("the answer cannot be written: " .. message)
    status = exit.FAILED
  end
  self.client, self.candidates = nil, {}
  assert(host.answer_in_time(LAST_S, "", status))
  collectgarbage()
  self.lunarch.shutdown(SHUTDOWN_S)
  return status
end

---@return integer status
function command.run(flags)
  local mistake = not flags.script and "which script?" or etcd.trouble_in(flags)
  if mistake then return flag.complain("check", mistake) end
  local given = settings.of_flags(flags)
  local lunarch, trouble = modules.load "lunarch"
  local status
  if lunarch then
    given.endpoints, trouble, status = etcd.find(flags, log.new(function() end))
    if given.endpoints ~= nil then trouble = nil end
  end
  if trouble then
    log.complain(trouble)
    return status or exit.USAGE
  end
  given.endpoints = given.endpoints or nil
  local check = new_check(flags, given, lunarch)
  assert(host.begin_answer())
  check.flag_endpoints = given.endpoints
  local wrong = settings.trouble_in(given)
  if wrong then check:add("error", wrong) end
  local ok, err = pcall(lunarch.run, check.run, check, check:load(flags), flags)
  check:end_reading()
  if not ok then check:add("error", args.error_text(err)) end
  return check:finish()
end

return command
