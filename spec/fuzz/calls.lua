-- Calls with senseless arguments: every public function of the module and every method of every object that turns up,
-- as they are found in the module itself and in the annotations. What is wrong is told as "finding: ..." lines.
--
--   calls.run { root =, endpoint =, seed =, seconds =, record = a file, lunarch =, say = print,
--               extra = { name = a table of functions }, attempt = how one call is made (in a task, say),
--               is_bounded = true where nobody can interrupt a call, leaves_out = { ["lunarch.run"] = true } }
--
-- Before each call its number and words are written to the record, where the one who watches over us finds them when we
-- die or hang. Runs on each VM and inside nginx: support.annotations is loaded by its path.
local calls = {}

local SLOT = 400
local MOST_OBJECTS, CALLS_PER_FURNITURE = 40, 150

local Run = {}
Run.__index = Run

function Run:find(format, ...)
  self.n_findings = self.n_findings + 1
  self.options.say("finding: " .. format:format(...))
end

function Run:keep(object)
  local class = self.annotations.of(object)
  if not class then return end
  local at = #self.objects < MOST_OBJECTS and #self.objects + 1 or self.random:below(MOST_OBJECTS) + 1
  self.objects[at] = object
end

-- One of everything, held; what was there before is left to the collector.
function Run:furnish()
  local lunarch = self.options.lunarch
  self.objects = {}
  local client = assert(lunarch.connect { endpoints = self.options.endpoint })
  self:keep(client)
  local session, message = client:session({ ttl = 60 }, 30)
  if not session then return self:find("no session: %s", tostring(message)) end
  self:keep(session)
  self.n_furnished = self.n_furnished + 1
  local name = ("/fuzz/%s/%d"):format(session.lease, self.n_furnished)
  local election, mutex = session:election(name .. "/election"), session:mutex(name .. "/lock")
  for _, object in ipairs {
    mutex, election, election:campaign("fuzz", 30), client:watch("/fuzz", { prefix = true }),
    client:observe(name .. "/election"),
  } do
    self:keep(object)
  end
  mutex:lock(30)
  local ok, candidate = pcall(lunarch.candidate, { client = client, election = name .. "/x", do_work = function() end })
  if ok then self:keep(candidate) end
  local is_fine, task = pcall(lunarch.spawn, function() end)
  if is_fine then self:keep(task) end
end

-- Something to call: its name, the function, what it is called on, and what the annotations say of its parameters.
function Run:draw_call()
  if #self.objects == 0 or self.random:chance(15) then
    local function_name = self.random:pick(self.functions)
    return function_name.name, function_name.fn, nil, function_name.declared
  end
  local object = self.random:pick(self.objects)
  local class, methods = self.annotations.of(object)
  local names = {}
  for name in pairs(methods) do
    if not name:find "^_" and not self.options.leaves_out[class .. ":" .. name] then names[#names + 1] = name end
  end
  table.sort(names)
  local name = self.random:pick(names)
  local declared = self.classes[class] and self.classes[class].methods[name]
  return class .. ":" .. name, methods[name], object, declared
end

function Run:draw_arguments(declared)
  local params = declared and declared.params or {}
  local n = #params
  if self.random:chance(20) then n = self.random:below(6) end
  -- Where nobody can interrupt, no time is left out.
  if self.options.is_bounded then n = math.max(n, #params) end
  local arguments, text = { n = n }, {}
  for i = 1, n do
    local name = params[i]
    local options = name and self.annotations.options(self.classes, params[name] or "")
    local value, what
    if options and self.random:chance(60) then
      value, what = self.nasty.options(self.random, self.objects, options)
    else
      -- A timeout that is allowed, and for ever, would be waited for.
      value, what = self.nasty.parameter(self.random, self.objects, name, name == "timeout" and 75 or 50,
        self.options.is_bounded)
    end
    arguments[i] = value
    text[i] = what
  end
  return arguments, table.concat(text, ", ")
end

function Run:note(lane, text)
  local file = self.record
  file:seek("set", lane * SLOT)
  file:write((("%d %s"):format(self.n_calls, text):sub(1, SLOT - 1) .. (" "):rep(SLOT)):sub(1, SLOT - 1), "\n")
  file:flush()
end

local unpack = table.unpack or unpack

-- Errors that are not the caller's: those that show a line of our own.
function Run:judge(what, ok, ...)
  if ok then
    self.n_returned = self.n_returned + 1
    for i = 1, select("#", ...) do
      self:keep((select(i, ...)))
    end
    return
  end
  self.n_raised = self.n_raised + 1
  local err = (...)
  local text = type(err) == "string" and err or ""
  local is_foreign = text:find(self.nasty.WORD, 1, true) or text:find "interrupted!"
  if text:find "lunarch/[%w_/]*%.lua:%d+:" and not is_foreign then
    self:find("%s shows a line of our own: %s", what, text:sub(1, 300))
  end
end

function Run:step(lane)
  self.n_calls = self.n_calls + 1
  local name, fn, object, declared = self:draw_call()
  local arguments, text = self:draw_arguments(declared)
  local what = ("%s(%s)"):format(name, text)
  self:note(lane, what)
  local function call()
    if object ~= nil then return self:judge(what, pcall(fn, object, unpack(arguments, 1, arguments.n))) end
    return self:judge(what, pcall(fn, unpack(arguments, 1, arguments.n)))
  end
  self.options.attempt(call, function(why) self:find("%s %s", what, why) end)
end

local function gather(self, prefix, functions, class)
  local names = {}
  for name, fn in pairs(functions) do
    if type(name) == "string" and not name:find "^_" and type(fn) == "function" then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local declared = class and class.methods[name]
    if not self.options.leaves_out[prefix .. "." .. name] then
      table.insert(self.functions, { name = prefix .. "." .. name, fn = functions[name], declared = declared })
    end
  end
end

---@param options table
---@return table run n_calls, n_raised, n_returned, n_findings
function calls.run(options)
  local function load_of(path) return dofile(options.root .. "/spec/" .. path) end
  options.leaves_out = options.leaves_out or {}
  options.attempt = options.attempt or function(call) call() end
  local self = setmetatable({
    options = options, annotations = load_of "support/annotations.lua", nasty = load_of "fuzz/nasty.lua",
    random = load_of "fuzz/random.lua".new(options.seed), functions = {}, objects = {},
    n_calls = 0, n_raised = 0, n_returned = 0, n_findings = 0, n_furnished = 0,
    record = assert(io.open(options.record, "w")),
  }, Run)
  self.nasty.may_yield = options.may_yield ~= false
  self.classes = self.annotations.read(options.root .. "/lua/lunarch/library")
  gather(self, "lunarch", options.lunarch, self.classes.lunarch)
  local candidate = options.lunarch.candidate
  table.insert(self.functions, {
    name = "lunarch.candidate", fn = function(...) return candidate(...) end,
    declared = { params = { "options", options = "lunarch.candidate_options" } },
  })
  for name, functions in pairs(options.extra or {}) do
    gather(self, name, functions, self.classes[name])
  end
  local now = options.lunarch.now
  local until_s = now() + options.seconds
  while now() < until_s and self.n_findings < 20 do
    if self.n_calls % CALLS_PER_FURNITURE == 0 then self:furnish() end
    self:step(0)
  end
  self.objects = {}
  self.record:close()
  options.say(("%d calls, %d returned, %d raised, %d findings"):format(
    self.n_calls, self.n_returned, self.n_raised, self.n_findings))
  return self
end

return calls
