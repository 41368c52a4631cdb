-- The console: a prompt in a world (lunarch.console.world). What is typed runs as a task, one after the other; what was
-- begun before - candidates, observers, tasks - goes on meanwhile, and what they say is printed above the line.
local args = require "lunarch.internal.args"
local chunk = require "lunarch.console.chunk"
local events = require "lunarch.console.events"
local globals = require "lunarch.console.globals"
local host = require "lunarch.host"
local input = require "lunarch.console.input"
local is_failure = require "lunarch.console.verbs".is_failure
local lazy = require "lunarch.console.lazy"
local log = require "lunarch.cli.log"
local lunarch = require "lunarch"
local record = require "lunarch.console.record"
local tasks = require "lunarch.loop.task"
local texts = require "lunarch.look.text"
local uv = require "luv"
local worlds = require "lunarch.console.world"

args.is_ours()

local complete, show = lazy "lunarch.console.complete", lazy "lunarch.console.show"

local console = {}

local SILENT_MS = 200      -- a call that waits longer than this gives the line back
local CLOSE_S = 5

local INTERRUPTED = setmetatable({ code = "cancelled" }, { __tostring = function() return "interrupted" end })

local Console = {}
Console.__index = Console

-- ---- printing ---------------------------------------------------------------------------------------------------

function Console:print(text)
  io.stdout:write(text, "\n")
end

function Console:print_error(text)
  text = texts.plain_lines(text)
  io.stdout:write(self.is_coloured and "\27[31m" .. text .. "\27[0m" or text, "\n")
end

-- What a call raised: the message and the code; where it happened in functions of the user's, too.
function Console:print_failure(err, traceback)
  if err == INTERRUPTED then return self:print_error "interrupted" end
  local text = args.error_text(err)
  local code = type(err) == "table" and err.code
  if type(code) == "string" then text = ("%s (%s)"):format(text, code) end
  local name = text:match "attempt to call a nil value %(global '([%w_]+)'%)"
  local meant = name and args.probably(name, globals.names(self.world, self.own))
  if meant then text = ("%s: did you mean '%s'?"):format(text, meant) end
  self:print_error(text)
  for line in (traceback or ""):gmatch "[^\n]+" do
    if line:find "^\t%S+:%d+: in " and not line:find("in main chunk", 1, true) and not line:find "^\t%[C%]"
      and not line:find("in function <input:", 1, true) then
      self:print(line)
    end
  end
end

-- ---- the prompt -------------------------------------------------------------------------------------------------

function Console:prompt_text()
  if self.question then return self.question end
  local head = texts.plain(self.world.prompt() or "")
  if self.task then return head .. (head ~= "" and " " or "") .. "(waiting) " end
  if self.pending then return (" "):rep(#head) .. ">> " end
  return head .. "> "
end

function Console:show_line()
  self.input:show(self:prompt_text())
end

-- ---- what is typed ----------------------------------------------------------------------------------------------

-- Reads lines until they are a whole; nil: the end of input. Waits.
function Console:read()
  self.pending = nil
  while true do
    -- What was typed ahead stands on the terminal already.
    if not self.input:has_next() then self:show_line() end
    local line = self.input:next()
    if line == nil then return self.pending, nil, "wrong", self.pending and "what was typed last is incomplete" end
    if self.is_discarded then
      self.pending, self.is_discarded = nil, nil
    else
      local text = self.pending and self.pending .. "\n" .. line or line
      local fn, kind, message = chunk.compile(text, self.world.env)
      if kind ~= "incomplete" then
        self.pending = nil
        return text, fn, kind, message
      end
      self.pending = text
    end
  end
end

-- The values of a call, or its error, as the prompt shows them; of an assignment, that the call has failed; of other
-- statements, that a verb has.
function Console:tell(kind, ok, ...)
  if not ok then
    local traceback, err = ...
    self:print_failure(err, traceback)
    return false
  end
  local has_returned = kind == "statement" and select("#", ...) > 0
  if kind == "expression" or has_returned or kind == "assignment" and is_failure(...) then return self:show(...) end
  for _, text in ipairs(self.failures) do
    self:print_error(text)
  end
  return true
end

-- Prints values; what they say of themselves may fail. Whether it did not.
function Console:show(...)
  local ok, text = pcall(show.values, table.pack(...), self.world)
  if not ok then
    self:print_error(("cannot be printed: %s"):format(args.error_text(text)))
  elseif text then
    self:print(text)
  end
  return ok
end

-- What a verb returned to what was typed itself; the last failure of each counts until it succeeds.
function Console:note(name, ...)
  if coroutine.running() ~= self.typed then return ... end
  local failures = self.failures
  for i = #failures, 1, -1 do
    if failures[i]:find(name .. ": ", 1, true) == 1 then table.remove(failures, i) end
  end
  if is_failure(...) then
    local _, message, code = ...
    failures[#failures + 1] = ("%s: %s (%s)"):format(name, message, code)
  end
  return ...
end

function Console:watch_verbs(world)
  for name, verb in pairs(world.verbs) do
    world.verbs[name] = function(...) return self:note(name, verb(...)) end
  end
end
-- Runs a chunk as a task, to its end: its values are printed if it is an expression. Whether it did not fail. Waits.
function Console:run(fn, kind)
  self.failures = {}
  local task = lunarch.spawn(function()
    return self.world.call(function()
      self.typed = coroutine.running()
      return fn()
    end)
  end)
  self.task = task
  local timer = self.input.is_edited and uv.new_timer()
  if timer then timer:start(SILENT_MS, 0, function() if self.task == task then self:show_line() end end) end
  local results = table.pack(task:join())
  host.take_interrupts()
  if timer then timer:stop() end
  self.task = nil
  self.input:hide()
  self.typed = nil
  return self:tell(kind, table.unpack(results, 1, results.n))
end

function Console:evaluate(text, fn, kind, message)
  if kind == "wrong" then
    self:print_error(message)
    return false
  end
  local ok = self:run(fn, kind)
  if ok then self.record:add(text, kind) end
  return ok
end

-- Ctrl-C: ends the wait of what was typed, or forgets what is being typed; at the end, does not wait for etcd.
function Console:on_interrupt()
  if host.take_interrupts() == 0 then return end
  local task = self.task
  if task then
    self.input:break_line()
    self.input:drop()
    if self.world.interrupt then return self.world.interrupt(task, INTERRUPTED) end
    task:interrupt(INTERRUPTED)
  elseif self.closing then
    self.closing:interrupt(INTERRUPTED)
  elseif not self.is_closing then
    self.input:discard()
    self.is_discarded = self.pending ~= nil
    self.pending = nil
    self:show_line()
    self.is_discarded = nil
  end
end

-- ---- questions --------------------------------------------------------------------------------------------------

--- Asks a question that is answered with y or n. Waits; false where nobody can answer.
function Console:ask(question)
  if not self.input or self.input.is_over or not host.is_terminal(0) then return false end
  self.question = texts.plain(question) .. "? [y/N] "
  self:show_line()
  local ok, answer = pcall(self.input.next, self.input)
  self.question = nil
  if not ok then error(answer, 0) end
  return answer ~= nil and answer:lower():find "^%s*y" ~= nil
end

-- ---- from the beginning to the end ------------------------------------------------------------------------------

local function history_path()
  local state = os.getenv "XDG_STATE_HOME"
  if not state or state:sub(1, 1) ~= "/" then
    local home = os.getenv "HOME"
    -- Users that services run as have a home that is not there, /nonexistent in Debian.
    if not home or home:sub(1, 1) ~= "/" or not uv.fs_stat(home) then return nil end
    state = home .. "/.local/state"
  end
  local folder, path = state .. "/lunarch", state .. "/lunarch/history"
  if not uv.fs_stat(folder) then
    local at = ""
    for part in folder:gmatch "[^/]+" do
      at = at .. "/" .. part
      uv.fs_mkdir(at, 448) -- 0700
    end
  end
  -- A pipe would be waited for.
  local stat = uv.fs_stat(path)
  if stat and stat.type ~= "file" then return nil end
  local fd = uv.fs_open(path, "a", 384) -- 0600
  if not fd then return nil end
  uv.fs_close(fd)
  return path
end

-- Ctrl-C finds the coroutine that computes, unless it is the console's own.
local function aim_at_what_runs()
  local resume, running, own = coroutine.resume, nil, coroutine.running()
  local function aim(thread)
    running = thread
    host.aim_interrupts(thread ~= own and thread or nil)
  end
  local function back_to(outer, ...)
    aim(outer)
    return ...
  end
  host.set_interruption(INTERRUPTED)
  rawset(coroutine, "resume", function(thread, ...)
    if type(thread) ~= "thread" then return resume(thread, ...) end
    local outer = running
    aim(thread)
    return back_to(outer, resume(thread, ...))
  end)
  -- What coroutine.wrap gives resumes by itself. As Lua does, an error is placed where it was called.
  local create, close = coroutine.create, coroutine.close
  local function results(thread, ok, ...)
    if ok then return ... end
    local err = ...
    if coroutine.status(thread) == "dead" then
      local is_closed, later = close(thread)
      if not is_closed then err = later end
    end
    error(err, 2)
  end
  rawset(coroutine, "wrap", function(fn)
    local thread = create(fn)
    return function(...)
      local outer = running
      aim(thread)
      return results(thread, back_to(outer, resume(thread, ...)))
    end
  end)
end

function Console:watch_interrupts()
  local poll = assert(uv.new_poll(assert(host.catch_interrupts())))
  poll:start("r", function() self:on_interrupt() end)
  poll:unref()
  self.interrupts = poll
  aim_at_what_runs()
end

-- What others print, and what fails beside the prompt.
function Console:listen()
  local compose = events.composer(self.world, self.is_coloured)
  self.world.on_event(function(event)
    self.events[#self.events + 1] = event
    self:print(compose(event))
  end)
  tasks.on_failure = function(task)
    if task.err ~= INTERRUPTED then self:print_error("a task failed: " .. task.traceback) end
  end
end

function Console:open_input()
  self.input = input.open {
    complete = function(...) return complete.words(self, ...) end,
    history = host.is_terminal(0) and history_path() or nil,
    is_plain = self.options.flags.plain,
  }
  self.input.is_busy = function() return self.task ~= nil and not self.question end
  self.input.prompt_of = function() return self:prompt_text() end
  self.input.on_end = function()
    -- The end of a file or a pipe is just its end.
    if self.task and (self.is_stopped or host.is_terminal(0)) then self.task:interrupt(INTERRUPTED) end
  end
end

-- os.execute and io.popen run programs that want the terminal as it is everywhere.
function Console:lend_terminal()
  for _, it in ipairs { { os, "execute" }, { io, "popen" } } do
    local library, name = it[1], it[2]
    local call = library[name]
    rawset(library, name, function(...) return self.input:lend(call, ...) end)
  end
end

function Console:farewell()
  self.is_closing = true
  self.input:hide()
  self.closing = lunarch.spawn(self.world.close, CLOSE_S)
  local ok, said = self.closing:join()
  self.closing = nil
  if not ok then self:print_error "interrupted: what is still held lapses with its lease" end
  for _, sentence in ipairs(ok and said or {}) do
    self:print(texts.plain_lines(sentence))
  end
  self.input:close()
  self.interrupts:stop()
end

function Console:load(path)
  local fn, message = loadfile(path, "bt", self.world.env or _G)
  if not fn then
    self:print_error(message)
    return false
  end
  return self:run(fn, "statement")
end

-- ---- another world ----------------------------------------------------------------------------------------------

function Console:enter(world)
  self.world, globals.world = world, world
  self:watch_verbs(world)
  self.names = nil
  self:listen()
end

-- From an etcd that does not answer to a private one.
function Console:go_to_dev()
  if self.world.name ~= "cluster" then return nil, "this is no real cluster", "invalid" end
  local world, trouble = worlds.open("dev", self.options)
  if not world then return nil, trouble, "unavailable" end
  local before = self.world
  self:enter(world)
  lunarch.spawn(before.close, 0)
  self:print(("now %s"):format(world.banner))
end

-- Behind the first prompt, so that nobody waits for it.
function Console:check_etcd()
  local world = self.world
  if not world.silence then return end
  local ok, silence = pcall(world.silence)
  if not silence or world ~= self.world or self.is_closing then return end
  self:print_error(ok and "no etcd answers: " .. silence or args.error_text(silence))
  if world.is_default then
    self:print "dev() goes on with a private one; --endpoints says where yours is."
  end
end

local function new(options)
  local self = setmetatable({
    options = options, events = {}, is_coloured = log.is_coloured(1), record = record.new(),
  }, Console)
  self.own = {
    record = function(path) return self.record:write(path, self.world) end,
    dev = options.world == "cluster" and function() return self:go_to_dev() end or nil,
    show = function(...) self:show(...) end,
  }
  setmetatable(self.own, { __index = function(_, name)
    if name ~= "help" then return nil end
    return require "lunarch.console.help".new(self)
  end })
  options.ask = function(question) return self:ask(question) end
  return self
end

--- Runs a console to its end, in the main task: the exit status. `options`: world (a name), flags, script, log.
--- Waits.
---@param options table
---@return integer status
function console.run(options)
  local self = new(options)
  local world, trouble, status = worlds.open(options.world, options)
  if not world then
    log.complain(trouble)
    return status or 1
  end
  globals.install(function() return self.world end, self.own)
  self:enter(world)
  self:watch_interrupts()
  self:open_input()
  self:lend_terminal()
  console.current = self
  if host.is_terminal(0) then
    self:print(("lunarch %s %s. help lists what there is."):format(lunarch.version, world.banner))
  end
  local is_fine = true
  if options.script then is_fine = self:load(options.script) end
  lunarch.spawn(self.check_etcd, self)
  while true do
    local text, fn, kind, message = self:read()
    if text == nil then break end
    if not chunk.is_empty(text) then
      self.input:remember(text)
      local ok = self:evaluate(text, fn, kind, message)
      is_fine = is_fine and ok
    end
  end
  self:farewell()
  if self.input.trouble then
    log.complain("cannot read stdin: " .. self.input.trouble)
    return 1
  end
  return (host.is_terminal(0) or is_fine) and 0 or 1
end

--- Ends the console that runs, as Ctrl-D does. Does not wait.
function console.stop()
  local self = console.current
  if not self then return tasks.interrupt_all(INTERRUPTED) end
  self.is_stopped = true
  self.input:drop()
  self.input:finish()
end

console.INTERRUPTED = INTERRUPTED

return console
