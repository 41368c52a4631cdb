-- Child processes of specs: started without a shell, watched by their lines, signalled and awaited by pid.
--
--   local p = process.start { "lunarch", "run", "a.lua", env = { NAME = "A" } }
--   local line = p:wait_line "elected"           -- line.text, line.t (seconds, clock.lua), line.from ("out", "err")
--   p:signal "sigterm"
--   local status, signal = p:wait_exit()
--
-- Every line is stamped by a process in between (stamp.lua) when it was said, not when we read it. No loop is needed:
-- all of this may be called from plain code, from coroutines and from libuv callbacks. Children end with the spec file.
local uv = require "luv"
local clock = require "support.clock"
local tree = require "support.tree"
local vm = require "support.vm"
local wait = require "support.wait"

local process = {}

---@class Process
---@field pid integer
local Process = {}
Process.__index = Process

local alive = {}

-- Whether children are put into sessions of their own, so that Ctrl-C at our terminal is told to us alone.
process.is_apart = false

-- What the kernel says of a process: "R", "S", "T" (stopped), "Z" (ended, not yet reaped), nil (gone), ...
---@param pid integer
function process.state_of(pid)
  return tree.read("/proc/" .. pid .. "/stat"):match "^%d+ %(.*%) (%a)"
end

-- A thread that began a process may end before the others: its files and sockets stay open until the last one has
-- ended.
local function has_threads(pid)
  local scan, n = uv.fs_scandir("/proc/" .. pid .. "/task"), 0
  while scan and uv.fs_scandir_next(scan) do
    n = n + 1
  end
  return n > 1
end

---@param pid integer
function process.is_running(pid)
  local state = process.state_of(pid)
  if state == "Z" then return has_threads(pid) end
  return state ~= nil and state ~= "X"
end

-- Stops every thread of it, and returns when it stands still.
---@param pid integer
function process.freeze(pid)
  assert(uv.kill(pid, "sigstop"))
  wait.eventually(function() return process.state_of(pid) == "T" end, nil, "process " .. pid .. " to stand still")
end

---@param pid integer
function process.thaw(pid)
  assert(uv.kill(pid, "sigcont"))
end

-- Ends it at once, stopped or not, and returns when it is gone.
---@param pid integer
function process.kill9(pid)
  uv.kill(pid, "sigkill")
  wait.eventually(function() return not process.is_running(pid) end, nil, "process " .. pid .. " to die")
end

-- Starts `command` tied to our life by the kernel. `stdio` as uv.spawn takes it. Nobody is told when it ends.
---@param command string[]
---@return integer pid
function process.spawn(command, env, stdio, cwd)
  local handle, pid
  handle, pid = uv.spawn("setpriv", {
    args = { "--pdeathsig", "KILL", vm.unpack(command) },
    env = env,
    stdio = stdio,
    cwd = cwd,
    detached = process.is_apart,
  }, function() handle:close() end)
  assert(handle, pid)
  -- A spec's own loop must be able to end while it lives.
  handle:unref()
  return pid
end

local programs = { lunarch = tree.program, lua = vm.program }

-- The words that run `options`, its changes of the environment among them: they are the command's, not the stamper's.
local function resolve(options)
  local words = { "env" }
  for name, value in pairs(options.env or {}) do
    if not value then words[#words + 1] = "--unset=" .. name end
  end
  for name, value in pairs(options.env or {}) do
    if value then words[#words + 1] = name .. "=" .. value end
  end
  local program = programs[options[1]] or options[1]
  local is_vm = program == "lua5.4" or program:match "/unit/luajit$"
  if is_vm and os.getenv "LUNARCH_PRELOAD" then
    words[#words + 1] = "LD_PRELOAD=" .. os.getenv "LUNARCH_PRELOAD"
  end
  words[#words + 1] = program
  for i = 2, #options do
    words[#words + 1] = tostring(options[i])
  end
  return words
end

-- Starts a command; "lunarch" is the program built here, "lua" the VM that this spec runs on. Options beside the words:
-- `env` (changes; false removes a name), `cwd`, `stdin = true` (then write and close_stdin may be used; else it reads
-- the end of file).
---@param options table
---@return Process
function process.start(options)
  local folder = tree.folder()
  local self = setmetatable({ log = folder .. "/lines", read_at = 0, seen = {}, next_line = 1 }, Process)
  local words = { "lua5.4", tree.root .. "/spec/support/stamp.lua", self.log }
  for _, word in ipairs(resolve(options)) do
    words[#words + 1] = word
  end
  local ends = options.stdin and uv.pipe()
  self.stamper = process.spawn(words, tree.environment(), { ends and ends.read or nil, nil, 2 }, options.cwd)
  if ends then
    uv.fs_close(ends.read)
    self.stdin = ends.write
  end
  self.name = table.concat(options, " ")
  -- Asked before the last look: a program may begin and end between two lines of ours.
  wait.eventually(function()
    local is_watched = process.is_running(self.stamper)
    self:read()
    return self.started or not is_watched
  end, nil, self.name .. " to start")
  self.pid = assert(self.started, "what watches over " .. self.name .. " has died")
  if not self.exited then alive[self] = true end
  return self
end

-- Runs a command to its end: everything it said, its status and signal.
---@param options table as for start, and `limit` in seconds
---@return string output, integer status, integer signal
function process.run(options)
  local self = process.start(options)
  local status, signal = self:wait_exit(options.limit)
  return self:output(), status, signal
end

-- Kills all that were started here and still live. For after_each.
function process.end_all()
  for self in pairs(alive) do
    self:kill9()
  end
end

function Process:read()
  local file = io.open(self.log, "r")
  if not file then return end
  file:seek("set", self.read_at)
  local text = file:read "*a"
  file:close()
  local whole = text:match "^.*\n" or ""
  self.read_at = self.read_at + #whole
  for ns, kind, rest in whole:gmatch "(%d+) (%a+) ([^\n]*)\n" do
    if kind == "pid" then
      self.started = vm.integer(rest)
    elseif kind == "exit" then
      local status, signal = rest:match "(%d+) (%d+)"
      self.exited = { status = vm.integer(status), signal = vm.integer(signal), t = tonumber(ns) / 1e9 }
      alive[self] = nil
    else
      self.seen[#self.seen + 1] = { t = tonumber(ns) / 1e9, from = kind, text = rest }
    end
  end
end

-- All lines so far, in the order they were said.
---@return { t: number, from: string, text: string }[]
function Process:lines()
  self:read()
  return self.seen
end

---@return string
function Process:output()
  local texts = {}
  for i, line in ipairs(self:lines()) do
    texts[i] = line.text .. "\n"
  end
  return table.concat(texts)
end

-- The first of all lines so far that matches, or nil.
---@param pattern string
function Process:find(pattern)
  for _, line in ipairs(self:lines()) do
    if line.text:find(pattern) then return line end
  end
end

-- All lines so far that match.
---@param pattern string
function Process:find_all(pattern)
  local found = {}
  for _, line in ipairs(self:lines()) do
    if line.text:find(pattern) then found[#found + 1] = line end
  end
  return found
end

-- Waits for the next line that matches, after the one found by the last call.
---@param pattern string
---@param limit? number seconds
function Process:wait_line(pattern, limit)
  limit = limit or wait.LIMIT
  local deadline = clock.now() + limit
  while true do
    local is_over = self.exited ~= nil
    self:read()
    while self.next_line <= #self.seen do
      local line = self.seen[self.next_line]
      self.next_line = self.next_line + 1
      if line.text:find(pattern) then return line end
    end
    if is_over or clock.now() >= deadline then
      error(("%s did not say '%s' %s; it said:\n%s"):format(
        self.name, pattern, is_over and "before it ended" or ("within %g s"):format(limit), self:output()), 2)
    end
    uv.sleep(2)
  end
end

---@param name string "sigterm", ...
function Process:signal(name)
  assert(uv.kill(self.pid, name))
end

function Process:freeze() process.freeze(self.pid) end

function Process:thaw() process.thaw(self.pid) end

function Process:is_running()
  self:read()
  return self.exited == nil
end

-- Waits for its end. `signal` is 0 unless one killed it.
---@param limit? number seconds
---@return integer status, integer signal, number t when it ended
function Process:wait_exit(limit)
  local ended = pcall(wait.eventually, function()
    self:read()
    return self.exited
  end, limit)
  if not ended then
    error(("%s did not end within %g s; it said:\n%s"):format(self.name, limit or wait.LIMIT, self:output()), 2)
  end
  return self.exited.status, self.exited.signal, self.exited.t
end

function Process:kill9()
  if self:is_running() then uv.kill(self.pid, "sigkill") end
  self:wait_exit()
end

---@param text string
function Process:write(text)
  assert(uv.fs_write(self.stdin, text))
end

function Process:close_stdin()
  uv.fs_close(self.stdin)
  self.stdin = nil
end

return process
