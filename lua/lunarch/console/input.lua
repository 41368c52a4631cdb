-- Lines that are typed while other things go on: through readline on a terminal (src/host/prompt.c), plain otherwise.
--
-- What is printed while a line is being typed is held by the host (src/host/streams.h) and written above that line, not
-- more than some thirty times a second, so that a thousand lines a second redraw it no more often.
local args = require "lunarch.internal.args"
local host = require "lunarch.host"
local tasks = require "lunarch.loop.task"
local uv = require "luv"

args.is_ours()

local FLUSH_MS = 30
local SETTLE_MS = 100
local CHUNK_BYTES = 4096

local input = {}

local Input = {}
Input.__index = Input

-- ---- what is typed, in order ------------------------------------------------------------------------------------

function Input:push(line)
  self.lines[#self.lines + 1] = line
  if self.waiter then tasks.wake(self.waiter) end
end

--- The next line; nil: the end of input. Waits. What interrupts the wait raises.
---@return string?
function Input:next()
  while not self.lines[1] do
    if self.is_over then return nil end
    self.waiter = { cancel = function() self.waiter = nil end }
    tasks.suspend(self.waiter)
    self.waiter = nil
  end
  return table.remove(self.lines, 1)
end

--- Whether next() has one and does not wait.
function Input:has_next() return self.lines[1] ~= nil end

--- What was typed ahead is dropped.
function Input:drop()
  self.lines = {}
end

--- What is printed next does not stand behind Ctrl-C.
function Input:break_line() end

function Input:finish()
  self.is_over = true
  self.poll:stop()
  if self.waiter then tasks.wake(self.waiter) end
  if self.on_end then self.on_end() end
end

-- ---- with readline ----------------------------------------------------------------------------------------------

local Edited = setmetatable({}, { __index = Input })
Edited.__index = Edited

--- Shows the line, or shows it with another prompt.
---@param text string
function Edited:show(text)
  self.text = text
  local editor = self.editor
  if not self.is_shown then
    io.stdout:flush()
    if host.is_in_line() then editor.write "\n" end
    host.hold_output(true)
    self.is_shown = true
  end
  editor.show(text)
  -- Typed, or pasted, together with the line before.
  if editor.has_more() then self.more:start(0, 0, function() self:on_readable() end) end
end

-- Nothing is held any more: what is printed goes to the terminal at once.
function Edited:conceal(is_taken_off)
  if not self.is_shown then return end
  if is_taken_off then
    self.editor.hide()
    host.begin_line()
  end
  self.is_shown = false
  host.hold_output(false)
  local held = host.take_output()
  if held then self.editor.write(held) end
end

--- Takes the line off the terminal; what was typed is kept.
function Edited:hide()
  self:conceal(true)
end

-- What is held is written above the line.
function Edited:flush()
  self.is_due = false
  if self.is_settling then return end
  local held = self.is_shown and host.take_output()
  if not held then return end
  local editor = self.editor
  editor.hide()
  editor.write(held)
  if held:sub(-1) ~= "\n" then editor.write "\n" end
  editor.show(self.prompt_of and self.prompt_of() or self.text)
  self.flushed_at = uv.now()
end

-- After each turn of the loop in which something may have been printed.
function Edited:look()
  if self.is_due or self.is_settling or not self.is_shown or not host.has_output() then return end
  local wait_ms = FLUSH_MS - (uv.now() - self.flushed_at)
  if wait_ms <= 0 then return self:flush() end
  self.is_due = true
  self.timer:start(wait_ms, 0, function() self:flush() end)
end

function Edited:on_readable()
  while true do
    local line = self.editor.read()
    if line == nil then return end
    self:conceal(false)
    if line == false then
      self.editor.write "\n"
      return self:finish()
    end
    self:push(line)
    -- Typed ahead of the call that still runs.
    if self.is_busy and self.is_busy() then self:show(self.text) end
    if not self.is_shown then return end
  end
end

-- What is printed waits until the terminal has said where the line is now.
function Edited:resize()
  if not self.editor.resize() then return end
  self.is_settling = true
  self.settling:start(SETTLE_MS, 0, function()
    self.is_settling = false
    self.editor.settle()
    self:on_readable()
    self:look()
  end)
end

--- What was typed so far is left above, and forgotten.
function Edited:discard()
  if not self.is_shown then return end
  self:flush()
  self.editor.discard()
  self:conceal(false)
end

function Edited:remember(text)
  if text:find "^%s" then return end
  self.editor.remember(text, self.history)
end

--- Calls fn(...) with the terminal as other programs expect it.
function Edited:lend(fn, ...)
  self.editor.release()
  local results = table.pack(pcall(fn, ...))
  self.editor.resume()
  if not results[1] then error(results[2], 0) end
  return table.unpack(results, 2, results.n)
end

function Edited:close()
  self.poll:stop()
  self.timer:stop()
  self.settling:stop()
  self.more:stop()
  self.check:stop()
  for _, watched in ipairs(self.signals) do
    watched:stop()
  end
  self:conceal(true)
  self.editor.close(self.history)
end

local function watch_signal(self, name, callback)
  local watched = uv.new_signal()
  watched:start(name, callback)
  watched:unref()
  self.signals[#self.signals + 1] = watched
end

local function open_edited(editor, options)
  local self = setmetatable({
    lines = {}, editor = editor, flushed_at = -FLUSH_MS, signals = {}, history = options.history, is_edited = true,
  }, Edited)
  editor.open(host.terminal(), options.complete)
  if self.history then editor.load_history(self.history) end
  self.timer, self.check = uv.new_timer(), uv.new_check()
  self.check:start(function() self:look() end)
  self.check:unref()
  self.settling, self.more = uv.new_timer(), uv.new_timer()
  watch_signal(self, "sigwinch", function() self:resize() end)
  watch_signal(self, "sigcont", function()
    editor.resume()
    if self.is_shown then
      editor.hide()
      editor.show(self.text)
    end
  end)
  return self
end

-- ---- plain ------------------------------------------------------------------------------------------------------

local Plain = setmetatable({}, { __index = Input })
Plain.__index = Plain

function Plain:show(text)
  self.text = text
  if not self.is_prompting then return end
  io.stdout:flush()
  if host.is_in_line() then io.stderr:write "\n" end
  io.stderr:write(text)
end

function Plain:hide() end
function Plain:flush() end
function Plain:remember() end

-- The terminal shows ^C itself.
function Plain:break_line()
  if self.is_prompting then io.stderr:write "\n" end
end

Plain.discard = Plain.break_line

function Plain:lend(fn, ...) return fn(...) end

function Plain:take(text)
  self.rest = self.rest .. text
  for line in self.rest:gmatch "([^\n]*)\n" do
    self:push(line)
  end
  self.rest = self.rest:match "[^\n]*$"
end

function Plain:end_of_input()
  if self.rest ~= "" then self:push(self.rest) end
  self:finish()
end

function Plain:on_readable()
  local text, message, code = uv.fs_read(0, CHUNK_BYTES)
  if code == "EAGAIN" then return end -- another process has read it
  if not text then self.trouble = message end
  if not text or text == "" then return self:end_of_input() end
  -- The terminal has shown what was typed, with the end of its line.
  if self.is_prompting and text:sub(-1) == "\n" then host.begin_line() end
  self:take(text)
end

function Plain:close()
  self.poll:stop()
end

local NO_POLL = { stop = function() end }

local function open_plain()
  return setmetatable({
    lines = {}, rest = "", is_prompting = host.is_terminal(0) and host.is_terminal(2),
  }, Plain)
end

-- ---- both -------------------------------------------------------------------------------------------------------

local function editor_here()
  if not (host.is_terminal(0) and host.is_terminal(1)) then return nil end
  local ok, editor = pcall(require, "lunarch.prompt")
  return ok and editor or nil
end

--- Lines from stdin; `trouble` of what is returned says why they cannot be read.
--- `options`: complete(line, word, quote) -> words; history: a path; is_plain: no line editing.
function input.open(options)
  local editor = not options.is_plain and editor_here()
  local self = editor and open_edited(editor, options) or open_plain()
  local poll = uv.new_poll(0)
  local is_watching = poll and poll:start("r", function() self:on_readable() end)
  self.poll = is_watching and poll or NO_POLL
  if not is_watching then
    -- A file, which is readable always.
    local text, message = io.read "a"
    self.trouble = not text and message or nil
    self:take(text or "")
    self:end_of_input()
  end
  return self
end

return input
