-- A world that can be broken: named candidates, three members of etcd, faults, and time. The verbs of the console and
-- of experiments, over a driver: lunarch.lab.sim (simulated) or lunarch.lab.processes (real processes).
--
-- Everything that was done is kept with its instant (the journal): from it an experiment is written, and, in the
-- simulator, the world is played again.
local args = require "lunarch.internal.args"
local await = require "lunarch.lab.await"
local breaking = require "lunarch.lab.breaking"
local events = require "lunarch.lab.events"
local handles = require "lunarch.lab.candidate"
local known = require "lunarch.candidate.options"
local known_verbs = require "lunarch.console.verbs"
local said = require "lunarch.lab.said"
local seconds = require "lunarch.lab.seconds"
local transfer = require "lunarch.lab.transfer"

args.is_ours()

local worlds = {}

local World = {}
World.__index = World

local ANSWER_S = 5
local STEP_S = 60
local MOST_EVENTS = 50000 -- of the timeline; then the older half is forgotten
-- Calls take no time that anybody counts: run(1) begins where the last run() ended.
local NO_TIME_S = 0.1

local function a_list(call, name, value)
  if type(value) ~= "table" then args.bad(call, name, "a list of words", value) end
end

-- What candidate() may be given beside the election and the name: handlers and settings of lunarch.candidate, and a
-- script with its words.
local OPTIONS = { script = args.text, words = a_list }
for _, group in ipairs { known.handlers, known.settings } do
  for name, check in pairs(group) do
    OPTIONS[name] = check
  end
end
OPTIONS.election, OPTIONS.name, OPTIONS.endpoints = nil, nil, nil

-- ---- events -----------------------------------------------------------------------------------------------------

function World:now() return self.driver:now() end

function World:emit(event)
  event.at = event.at or self:now()
  event.level = event.level or "info"
  if #self.events >= MOST_EVENTS then
    self.events = table.move(self.events, MOST_EVENTS // 2, MOST_EVENTS, 1, {})
  end
  self.events[#self.events + 1] = event
  if events.is_shown(event) then
    for _, fn in ipairs(not self.is_silent and self.listeners or {}) do
      fn(event)
    end
    local step = self.step_wait
    if step then
      self.step_wait = nil
      self.driver:wake(step)
    end
  end
end

function World:fault(who, text, more)
  local event = more or {}
  event.who, event.what, event.text, event.level = who, "fault", text, "warn"
  self:emit(event)
end

local INSTANTS = { "stop_at", "valid_until", "expiry" }

-- The instants that a report brings, as the world counts.
local function take_instants(self, report)
  for _, name in ipairs(INSTANTS) do
    if report[name] then report[name] = self.driver:instant(report[name]) end
  end
end

local takes = {}

function takes.renewed(machine, report)
  machine.instants = report
end

function takes.elected(machine, report)
  machine.terms[#machine.terms + 1] = { token = report.token, elected = report.at }
  if report.valid_until then machine.instants = report end
end

function takes.lost(machine, report)
  local term = machine.terms[#machine.terms]
  if not term then return end
  machine.working = nil
  term.lost, term.reason = report.at, report.reason
  term.stop_at, term.valid_until, term.expiry = report.stop_at, report.valid_until, report.expiry
end

function takes.joined(machine, report)
  machine.place = report.place
end

function World:take_message(machine, report)
  if report.what == "answer" then
    local wait = self.asked[report.id]
    if not wait then return end
    self.asked[report.id] = nil
    wait.answer = report
    self.driver:wake(wait)
    return
  end
  if report.what == "works" then
    machine.working = report.handler
    return
  end
  report.at = self.driver:instant(report.at)
  report.who = machine.name
  take_instants(self, report)
  if takes[report.what] then takes[report.what](machine, report) end
  self:emit(report)
end

function World:take_log(machine, level, text)
  local event = events.of_log(self:now(), machine.name, level, text)
  if event then self:emit(event) end
end

-- ---- candidates and members --------------------------------------------------------------------------------------

--- By its handle or its name; nil: it is none.
function World:find(x) return handles.machine(x) or self.by_name[x] end

function World:machine(verb, x)
  local machine = self:find(x)
  if machine then return machine end
  if type(x) == "string" then
    args.misuse("%s: there is no candidate '%s'%s", verb, x, self.machines[1] and "" or ": make one with candidate()")
  end
  return args.bad(verb, "x", "a candidate, or its name", x)
end

function World:member(verb, x)
  local index = math.type(x) == "integer" and x or type(x) == "string" and math.tointeger(tonumber(x:match "^m(%d+)$"))
  if not index or index < 1 or index > self.driver.members then
    args.bad(verb, "member", ("'m1' to 'm%d', or the number alone"):format(self.driver.members), x)
  end
  return index
end

function World:is_member(x)
  return self.by_name[x] == nil and (math.type(x) == "integer" or type(x) == "string" and x:match "^m%d+$" ~= nil)
end

local function reset(machine)
  machine.terms, machine.instants, machine.place, machine.rate, machine.working = {}, nil, nil, nil, nil
end

--- Its process is gone: a term that was not lost before is over without on_lost.
function World:has_ended(machine)
  local term = machine.terms[#machine.terms]
  if not term or term.lost or term.killed then return end
  term.killed = self:now()
  for _, name in ipairs(INSTANTS) do
    term[name] = machine.instants and machine.instants[name]
  end
end

--- The driver says so when the pause is over.
function World:has_resumed(machine)
  self:fault(machine.name, "runs again (SIGCONT)", { fault = "pause", lane = machine.name, begins = false })
end

--- A member that was frozen goes on.
function World:thaw(index)
  if not self.frozen[index] then return end
  self.frozen[index] = nil
  self.driver:member("thaw", index)
  self:fault("m" .. index, "runs again", { fault = "freeze", lane = "m" .. index, begins = false })
end

--- Asks a machine and waits for its answer.
function World:ask(machine, order)
  self.n_asked = self.n_asked + 1
  order.id = self.n_asked
  local is_up, is_paused = self.driver:is_up(machine)
  if not is_up then return nil, ("candidate %s is down"):format(machine.name), "unavailable" end
  if is_paused then return nil, ("candidate %s is paused"):format(machine.name), "unavailable" end
  local wait = { cancel = function() self.asked[order.id] = nil end }
  self.asked[order.id] = wait
  self.driver:send(machine, order)
  if not self.driver:suspend(wait, ANSWER_S) or not wait.answer then
    self.asked[order.id] = nil
    return nil, ("candidate %s has not answered within %g s"):format(machine.name, ANSWER_S), "timeout"
  end
  local answer = wait.answer
  if not answer.ok then error(answer.trouble, 0) end
  return transfer.unpack_all(answer.results)
end

-- ---- verbs: standing ---------------------------------------------------------------------------------------------

local verbs = {}
for name, verb in pairs(breaking) do
  verbs[name] = verb
end

local function has_handler(options)
  for name in pairs(known.handlers) do
    if options[name] ~= nil then return true end
  end
  return false
end

-- What is not given stands as a global: that of a script which the console was started with, or of what was typed.
local function with_globals(options)
  if options.script or has_handler(options) then return options end
  local all = {}
  for name in pairs(OPTIONS) do
    all[name] = rawget(_G, name)
  end
  for name, value in pairs(options) do
    all[name] = value
  end
  all.script, all.words = nil, nil
  return all
end

local function spec_of(election, who, options)
  local spec = { election = election, name = who }
  for name, value in pairs(options) do
    spec[name] = transfer.pack(name, value)
  end
  return spec
end

-- "A", "B" ... as far as they are free.
local function free_name(self)
  for i = 0, 25 do
    local name = string.char(65 + i)
    if not self.by_name[name] then return name end
  end
  args.misuse "candidate: give it a name"
end

-- What is wrong with it is said here, not by a process that ends for it.
local function check_script(path)
  local ok, mistake = true, nil
  if path then ok, mistake = loadfile(path) end
  if not ok then args.misuse("candidate: %s", mistake) end
end

function verbs.candidate(self, election, who, options)
  if type(who) == "table" and options == nil then who, options = nil, who end
  options = with_globals(args.options("candidate", options, OPTIONS))
  if election == nil and not options.script then election = rawget(_G, "election") end
  if election ~= nil or not options.script then args.name("candidate", "name", election) end
  who = args.who("candidate", "who", who or free_name(self))
  if self.by_name[who] then args.misuse("candidate: there is a candidate '%s' already", who) end
  check_script(options.script)
  if #self.machines >= self.driver.max_machines then
    args.misuse("candidate: there are %d already, and no room for more", #self.machines)
  end
  local machine = { name = who, index = #self.machines + 1, world = self, spec = spec_of(election, who, options) }
  machine.options = options
  reset(machine)
  machine.handle = handles.new(machine)
  self.machines[machine.index], self.by_name[who] = machine, machine
  self.driver:start(machine, machine.spec)
  return machine.handle
end

-- All of those that lead.
local function resign_all(self)
  local n = 0
  for _, machine in ipairs(self.machines) do
    if machine.handle.leads and self:ask(machine, { verb = "resign" }) then n = n + 1 end
  end
  if n > 0 then return true end
  return nil, "no candidate leads here", "not_leader"
end

function verbs.resign(self, x)
  if x == nil then return resign_all(self) end
  return self:ask(self:machine("resign", x), { verb = "resign" })
end

function verbs.leave(self, x)
  return self:ask(self:machine("leave", x), { verb = "leave" })
end

function verbs.start(self, x)
  if self:is_member(x) then
    local index = self:member("start", x)
    self.driver:member("start", index)
    return self:fault("m" .. index, "started", { fault = "crash", lane = "m" .. index, begins = false })
  end
  local machine = self:machine("start", x)
  if self.driver:is_up(machine) then args.misuse("start: candidate %s is up", machine.name) end
  self.driver:start(machine, machine.spec)
  self:fault(machine.name, "started again", { fault = "down", lane = machine.name, begins = false })
end

-- ---- verbs: asking -----------------------------------------------------------------------------------------------

-- As on every other etcd; kept in the journal, because they change who leads.
for _, verb in ipairs { "switchover", "pause_line", "resume_line" } do
  verbs[verb] = function(self, ...)
    return self.own_of().verbs[verb](...)
  end
end

-- ---- verbs: time -------------------------------------------------------------------------------------------------

function verbs.run(self, s)
  if s == nil then args.bad("run", "seconds", "a number of seconds", s) end
  seconds("run", "seconds", s)
  local now = self:now()
  local from = now - self.nominal < NO_TIME_S and now >= self.nominal and self.nominal or now
  self.nominal = from + s
  self.driver:sleep_until(self.nominal)
end

function verbs.step(self, limit)
  limit = seconds("step", "limit", limit) or STEP_S
  local wait = { cancel = function() self.step_wait = nil end }
  self.step_wait = wait
  if self.driver:suspend(wait, limit) then return end
  self.step_wait = nil
  return nil, ("nothing has happened for %g s"):format(limit), "timeout"
end

function verbs.until_(self, fn, limit)
  local function now() return self:now() end
  return await(fn, limit, now, function(s) self.driver:sleep_until(now() + s) end)
end

-- ---- what is expected --------------------------------------------------------------------------------------------

function World:expect(condition, text)
  if text ~= nil then args.string("expect", "text", text) end
  local ok, found = true, condition
  if type(condition) == "function" then ok, found = pcall(condition) end
  local is_met = ok and found and true or false
  local expectation = { at = self:now(), text = text or "what was expected", is_met = is_met }
  if not ok then expectation.trouble = args.error_text(found) end
  self.expectations[#self.expectations + 1] = expectation
  self:emit { what = "expect", text = expectation.text, is_met = is_met }
  if is_met then return true end
  return nil, "expected: " .. expectation.text, "expected"
end

-- ---- the journal -------------------------------------------------------------------------------------------------

local function remove(list, value)
  for i = #list, 1, -1 do
    if list[i] == value then return table.remove(list, i) end
  end
end

-- Lets time pass: what is called meanwhile, by tasks or by until_'s function, is kept behind it, with its own instant.
local function journaled_passing(self, name)
  return function(...)
    if self.is_passing then return verbs[name](self, ...) end
    local journal, entry = self.journal, { at = self:now(), verb = name, args = table.pack(...) }
    journal[#journal + 1], self.is_passing = entry, true
    local results = table.pack(pcall(verbs[name], self, ...))
    self.is_passing = false
    if results[1] then return table.unpack(results, 2, results.n) end
    remove(journal, entry)
    error(results[2], 0)
  end
end

local function journaled(self, name)
  return function(...)
    local entry = { at = self:now(), verb = name, args = table.pack(...) }
    if self.is_inside then return verbs[name](self, ...) end
    self.is_inside, self.entry = true, entry
    local results = table.pack(pcall(verbs[name], self, ...))
    self.is_inside = false
    if not results[1] then error(results[2], 0) end
    entry.result, entry.ended = results[2], self:now()
    self.journal[#self.journal + 1] = entry
    return table.unpack(results, 2, results.n)
  end
end

-- ---- a world -----------------------------------------------------------------------------------------------------

local function verbs_of(self)
  local own = {}
  for name in pairs(verbs) do
    local keep = known_verbs.passes_time[name] and journaled_passing or journaled
    if known_verbs.exists(known_verbs.by_name[name], self.name) then own[name] = keep(self, name) end
  end
  function own.timeline(path) return self:show_timeline(path) end
  function own.save(path) return require "lunarch.lab.save".write(self, path) end
  return own
end

-- The names of its candidates, in the order in which they were made.
local function names_of(self)
  local names = {}
  for i, machine in ipairs(self.machines) do
    names[i] = machine.name
  end
  return names
end

--- The lines of its timeline; with a path the picture is written there.
function World:show_timeline(path)
  local timeline = require "lunarch.timeline"
  local story = timeline.story(self.events, { till = self:now(), names = names_of(self) })
  if path == nil then return said(timeline.lines(story)) end
  args.text("timeline", "path", path)
  return timeline.write(story, path)
end

--- The command that plays an experiment as it was played in this world.
function World:command(path)
  local flags = self.name == "sim" and (" --sim --seed %d"):format(self.driver.seed) or ""
  return ("lunarch lab%s %s"):format(flags, path)
end

--- Notes who leads etcd: a member's name, or nil.
function World:note_etcd_leader(name, text)
  if not name or name == self.leader_of_etcd then return end
  local is_first = self.leader_of_etcd == nil
  self.leader_of_etcd = name
  self:emit { who = name, what = is_first and "etcd" or "say", text = text or "leads etcd", etcd_leader = name }
end

--- Forgets what has happened; the candidates stay known.
function World:forget()
  self.events, self.expectations, self.asked, self.frozen = {}, {}, {}, {}
  self.nominal, self.is_full, self.leader_of_etcd = 0, false, nil
  self.is_passing, self.is_inside = false, false
  for _, machine in ipairs(self.machines) do
    reset(machine)
  end
end

--- A world over a driver. `ttl`: of the sessions that are not a candidate's; nil: the default.
function worlds.new(name, driver, ttl)
  local self = setmetatable({
    name = name, driver = driver, ttl = ttl, listeners = {}, machines = {}, by_name = {}, journal = {},
    n_asked = 0,
  }, World)
  self:forget()
  self.clock, self.raw_verbs = "world", verbs
  self.verbs = verbs_of(self)
  function self.on_event(fn) self.listeners[#self.listeners + 1] = fn end
  function self.timeline() return self:show_timeline() end
  function self.names() return names_of(self) end
  self.globals = {
    etcd_leader = function()
      local index = driver:etcd_leader()
      return index and "m" .. index
    end,
    now = function() return self:now() end,
  }
  return self
end

--- What was seen of the term with this token.
function World:seen(token)
  for _, machine in ipairs(self.machines) do
    for _, term in ipairs(machine.terms) do
      if term.token == token then
        local how = term.killed and "killed" or term.reason and ("on_lost (%s)"):format(term.reason)
        return { at = ("%.3f"):format(term.elected), how_ended = how }
      end
    end
  end
end

local SHARED = { "elections", "locks", "line", "members", "follow", "unfollow", "history", "try", "lock" }

--- What every world has on its client. `etcd`: lunarch.console.worlds.etcd, as this world has it.
function worlds.on_client(world, etcd)
  local own = etcd.on_client {
    client = world.driver:get_client(), now = function() return world:now() end,
    seen = function(token) return world:seen(token) end, label = world.name, ttl = world.ttl,
    on_asked = function(text) world:fault(nil, text) end,
  }
  own.on_event(function(event) world:emit(event) end)
  return own
end

--- Gives it to the world; own_of() -> worlds.on_client(...).
function worlds.share(world, own_of)
  world.own_of = own_of
  for _, name in ipairs(SHARED) do
    world.verbs[name] = function(...) return own_of().verbs[name](...) end
  end
  local leave = world.verbs.leave
  function world.verbs.leave(x, ...)
    if world:find(x) then return leave(x, ...) end
    local n = 0
    for _, machine in ipairs(x == nil and world.machines or {}) do
      if machine.handle.is_up and leave(machine.handle) then n = n + 1 end
    end
    if n > 0 and not own_of().holds() then return true end
    return own_of().verbs.leave(x, ...)
  end
  function world.session() return own_of().session() end
  world.client = nil
  setmetatable(world, { __index = function(_, name)
    if name == "client" then return world.driver:get_client() end
    return World[name]
  end })
end

return worlds
