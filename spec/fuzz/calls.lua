-- Calls with senseless arguments: every public function of the module and every method of every object that turns up,
-- as they are found in the module itself and in the annotations. What is wrong is told as "finding: ..." lines.
--
--   calls.run { root =, endpoint =, seed =, n_calls =, record = a file, lunarch =, say = print,
--               extra = { name = a table of functions }, attempt = how one call is made (in a task, say),
--               is_bounded = true where nobody can interrupt a call, leaves_out = { ["lunarch.run"] = true } }
--
-- Call number N of a seed is the same in each run, whatever came of the calls before it: its chance is its own, and an
-- object stands where the number of the call that gave it says.
--
-- Before each call its number and words are written to the record, where the one who watches over us finds them when we
-- die or hang. Runs on each VM and inside nginx: support.annotations is loaded by its path.
local calls = {}

local SLOT = 400
local CALLS_PER_FURNITURE, MOST_FINDINGS, MOST_SEED = 150, 20, 2 ^ 31 - 2
local SLOTS, SLOTS_PER_CALL = 40, 3

-- Objects of ours that turned up, in places that depend on nothing but the call.
local Objects = {}
Objects.__index = Objects

function Objects:put(object, number, nth)
  self.slots[(number * SLOTS_PER_CALL + nth) % SLOTS + 1] = object
end

function Objects:is_empty() return next(self.slots) == nil end

-- The one of a slot, or the next one there is.
function Objects:pick(random)
  local at = random:below(SLOTS)
  for i = at, at + SLOTS do
    local object = self.slots[i % SLOTS + 1]
    if object then return object end
  end
end

local Run = {}
Run.__index = Run

function Run:find(format, ...)
  self.n_findings = self.n_findings + 1
  self.options.say("finding: " .. format:format(...))
end

-- What goes on by itself for ever, as documented: a mirror until it is closed, a task until its function returns (an
-- observer can be one). A world of cqueues' would wait for them, and they keep their clients.
local ENDS = { ["lunarch.mirror"] = "close", ["lunarch.task"] = "interrupt" }

-- What the call of that number gave, its value number `nth`.
function Run:keep(object, number, nth)
  local ends = ENDS[self.annotations.of(object) or ""]
  if ends then self.going[object] = ends end
  if nth < SLOTS_PER_CALL and self.annotations.of(object) then self.objects:put(object, number, nth) end
end

function Run:end_what_goes_on()
  local all = {}
  for object, method in pairs(self.going) do
    all[object] = method
  end
  for object, method in pairs(all) do
    object[method](object, "by the fuzzer")
    self.going[object] = nil
  end
end

-- One of everything, held; what was there before is left to the collector.
function Run:furnish()
  local lunarch = self.options.lunarch
  self:end_what_goes_on()
  self.objects = setmetatable({ slots = {} }, Objects)
  local n = 0
  local function keep(object)
    self:keep(object, n, 0)
    n = n + 1
  end
  local client = assert(lunarch.connect { endpoints = self.options.endpoint })
  keep(client)
  local session, message = client:session({ ttl = 60 }, 30)
  if not session then return self:find("no session: %s", tostring(message)) end
  keep(session)
  self.n_furnished = self.n_furnished + 1
  local name = ("/fuzz/%s/%d"):format(session.lease, self.n_furnished)
  local election, mutex = session:election(name .. "/election"), session:mutex(name .. "/lock")
  for _, object in ipairs {
    mutex, election, election:campaign("fuzz", 30), client:watch("/fuzz", { prefix = true }),
    client:observe(name .. "/election"),
  } do
    keep(object)
  end
  mutex:lock(30)
  local is_mirrored, mirror = pcall(client.mirror, client, name .. "/mirror", nil, 30)
  if is_mirrored then keep(mirror) end
  local ok, candidate = pcall(lunarch.candidate, { client = client, election = name .. "/x", do_work = function() end })
  if ok then keep(candidate) end
  local is_fine, task = pcall(lunarch.spawn, function() end)
  if is_fine then keep(task) end
end

-- Something to call: its name, the function, what it is called on, and what the annotations say of its parameters.
function Run:draw_call()
  if self.objects:is_empty() or self.random:chance(15) then
    local function_name = self.random:pick(self.functions)
    return function_name.name, function_name.fn, nil, function_name.declared
  end
  local object = self.objects:pick(self.random)
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

function Run:note(text)
  local file = self.record
  file:seek "set"
  file:write((("%d %s"):format(self.n_calls, text):sub(1, SLOT - 1) .. (" "):rep(SLOT)):sub(1, SLOT - 1), "\n")
  file:flush()
end

local unpack = table.unpack or unpack

-- Errors that are not the caller's: those that show a line of our own.
function Run:judge(number, what, ok, ...)
  if ok then
    self.n_returned = self.n_returned + 1
    for i = 1, select("#", ...) do
      self:keep((select(i, ...)), number, i - 1)
    end
    return
  end
  self.n_raised = self.n_raised + 1
  local err = (...)
  local text = type(err) == "string" and err or ""
  -- What task:guard was given is asked where we ask, and fails there.
  local is_foreign = text:find(self.nasty.WORD, 1, true) or text:find "interrupted!" or text:find "to 'guarded' %("
  if text:gsub("lunarch/spec/fuzz/", ""):find "lunarch/[%w_/]*%.lua:%d+:" and not is_foreign then
    self:find("%s shows a line of our own: %s", what, text:sub(1, 300))
  end
end

function Run:step()
  self.n_calls = self.n_calls + 1
  local number = self.n_calls
  self.random = self.new_random(self.chance:below(MOST_SEED))
  local name, fn, object, declared = self:draw_call()
  local arguments, text = self:draw_arguments(declared)
  local what = ("%s(%s)"):format(name, text)
  self:note(what)
  local function call()
    if object ~= nil then return self:judge(number, what, pcall(fn, object, unpack(arguments, 1, arguments.n))) end
    return self:judge(number, what, pcall(fn, unpack(arguments, 1, arguments.n)))
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
  local new_random = load_of "fuzz/random.lua".new
  options.leaves_out = options.leaves_out or {}
  options.attempt = options.attempt or function(call) call() end
  local self = setmetatable({
    options = options, annotations = load_of "support/annotations.lua", nasty = load_of "fuzz/nasty.lua",
    new_random = new_random, chance = new_random(options.seed), functions = {},
    n_calls = 0, n_raised = 0, n_returned = 0, n_findings = 0, n_furnished = 0,
    -- What has ended is not held.
    going = setmetatable({}, { __mode = "k" }),
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
  while self.n_calls < options.n_calls and self.n_findings < MOST_FINDINGS do
    if self.n_calls % CALLS_PER_FURNITURE == 0 then self:furnish() end
    self:step()
  end
  -- From here on what hangs is none of the calls.
  self:note "the end: all were made"
  self:end_what_goes_on()
  self.objects = nil
  self.record:close()
  options.say(("%d calls, %d returned, %d raised, %d findings"):format(
    self.n_calls, self.n_returned, self.n_raised, self.n_findings))
  return self
end

return calls
