-- A script's life, under the program and in the simulator: it runs as an ordinary program, declares candidates, and
-- these stand until they are stopped.
--
-- What runs one gives `lunarch`, `script` (its path), `given` (what the command line says), `candidates` (none yet),
-- `default_name`, `log`, `log_for(name)`, perhaps `draft`, which declares in its place, and the methods
-- connect() -> the client of candidates that bring none; may_stand() -> whether they are still wanted;
-- has_stood(): they have all ended. After connect(), perhaps `hint`: what may help where no etcd has answered yet.
local args = require "lunarch.internal.args"
local connection = require "lunarch.internal.connection"
local settings = require "lunarch.cli.settings"

args.is_ours()

local NO_TABLE = "candidate: a table of handlers and settings is expected; where this file is an experiment: "
  .. "`lunarch lab` plays it"

local Script = {}
Script.__index = Script

-- A mistake in the script that speaks for itself, without a traceback.
local Complaint = { __tostring = function(self) return self.text end }

local function complain(format, ...)
  error(setmetatable({ text = format:format(...) }, Complaint), 0)
end

-- Declares a candidate; raises a mistake in its settings at the script's own line.
function Script:declare(own)
  local ok, result = pcall(self.make, self, own)
  if ok then return result end
  -- Kept as the string that it is: the script may catch and look at it.
  self.mistake = result
  error(result, 0)
end

--- Whether the script failed by a mistake in its settings, handlers or endpoints: then it will fail again.
---@param err any what was raised by main
function Script:is_mistake(err)
  if getmetatable(err) == Complaint then return true end
  return self.mistake ~= nil and args.error_text(err):find(args.error_text(self.mistake), 1, true) == 1
end

-- Candidates that say nothing of a connection share one.
local function connects_itself(own)
  if own.endpoints ~= nil or own.client ~= nil then return true end
  for name in pairs(connection.OPTIONS) do
    if own[name] ~= nil then return true end
  end
  return false
end

function Script:make(own)
  if self.given.election and self.candidates[1] then
    args.misuse "--election: the script declares more than one candidate: which of them is meant?"
  end
  local options = settings.merge(self.given, own, _G)
  options.name = options.name or self.default_name
  options.log = self.log_for(options.name)
  if not connects_itself(own) then
    options.endpoints, options.client = nil, self:connect()
  end
  local candidate = self.lunarch.candidate(options)
  candidate.hint = self.hint
  self.candidates[#self.candidates + 1] = candidate
  return candidate
end

-- A script that names an election and declares nothing ends at once, and its writer wonders why.
function Script:check_in_vain()
  if self.candidates[1] or not (self.given.election or rawget(_G, "election")) then return end
  self.log.warn("%s names an election, but declares neither on_elected nor do_work: nobody stands in it", self.script)
end

-- The handlers that stand in the script as globals.
function Script:declare_globals()
  local handlers = {}
  for name in pairs(settings.handlers) do
    handlers[name] = rawget(_G, name)
  end
  if not next(handlers) then return self:check_in_vain() end
  if not (self.given.election or rawget(_G, "election")) then
    local name = next(handlers)
    complain("%s declares %s, but no election to stand in: write election = \"/some/name\" in it, or give --election",
      self.script, name)
  end
  local ok, trouble = pcall(self.declare, self, handlers)
  if not ok then complain("%s: %s", self.script, tostring(trouble):gsub("^lunarch%.candidate: ", "")) end
end

function Script:check_spelling(known_before)
  local handlers, others = settings.misspelt(_G, known_before)
  local is_candidate = self.candidates[1] or rawget(_G, "election") or self.given.election
  for name in pairs(settings.handlers) do
    is_candidate = is_candidate or rawget(_G, name)
  end
  if is_candidate then
    for _, text in ipairs(others) do
      self.log.warn("%s: %s", self.script, text)
    end
    if handlers[1] then complain("%s", table.concat(handlers, "\n")) end
  end
  for _, text in ipairs(handlers) do
    self.log.warn("%s", text)
  end
end

function Script:stop_candidates()
  for _, candidate in ipairs(self.candidates) do
    candidate:stop()
  end
end

function Script:run_candidates()
  if not self:may_stand() then return end
  local tasks = {}
  for i, candidate in ipairs(self.candidates) do
    tasks[i] = self.lunarch.spawn(candidate.run, candidate)
  end
  local failure
  for _, task in ipairs(tasks) do
    local ok, trace = task:join()
    if not ok and not failure then
      failure = trace
      self:stop_candidates()
    end
  end
  if failure then error(failure, 0) end
  self:has_stood()
end

--- Runs the script's main part, which declares candidates. Raises what is wrong with them.
function Script:declare_all(chunk, words)
  if not self.known_before then
    self.known_before = {}
    for name, value in pairs(_G) do
      self.known_before[name] = value
    end
  end
  for name, value in pairs(self.given) do
    rawset(_G, name, value)
  end
  chunk(table.unpack(words))
  self:check_spelling(self.known_before)
  self:declare_globals()
end

function Script:main(chunk, words)
  self:declare_all(chunk, words)
  if self.candidates[1] then self:run_candidates() end
end

--- The settings and the calls that a script finds as globals.
function Script:set_globals(words, program)
  rawset(_G, "lunarch", self.lunarch)
  rawset(_G, "log", self.log)
  rawset(_G, "candidate", function(own)
    if type(own) ~= "table" then args.misuse(NO_TABLE) end
    return (self.draft or self):declare(own)
  end)
  _G.arg = table.move(words, 1, #words, 1, { [-1] = program, [0] = self.script })
end

return Script
