-- Runs one command for process.lua and writes what it says, line by line with the instant it said it, into a file:
--   <ns> pid <pid> | <ns> out <line> | <ns> err <line> | <ns> exit <status> <signal>
-- A process of its own, so that the stamps are right while the spec blocks. The command dies with us.
local uv = require "luv"
local clock = require "support.clock"

local LAST_WORDS_MS = 200

local log = assert(io.open(assert(arg[1]), "a"))
log:setvbuf "line"

local function write(kind, text, at_ns)
  log:write(("%d %s %s\n"):format(at_ns or clock.now_ns(), kind, text))
end

-- What UBSan says of a child must not go unnoticed where no spec looks at how it ended.
local complaints = os.getenv "LUNARCH_COMPLAINTS"

local function note_complaint(line)
  if not (complaints and line:find ":%d+:%d+: runtime error: ") then return end
  local file = assert(io.open(complaints .. ".ubsan", "a"))
  file:write(line, "\n")
  file:close()
end

local open_pipes = 2
local exit_text, exit_ns

local function write_exit()
  if exit_text then write("exit", exit_text, exit_ns) end
  exit_text = nil
end

local function follow(pipe, kind)
  local rest = ""
  pipe:read_start(function(_, data)
    rest = rest .. (data or "")
    for line in rest:gmatch "([^\n]*)\n" do
      write(kind, line)
      note_complaint(line)
    end
    rest = rest:match "[^\n]*$"
    if data then return end
    if rest ~= "" then write(kind, rest) end
    pipe:close()
    open_pipes = open_pipes - 1
    if open_pipes == 0 then write_exit() end
  end)
end

local out, err = uv.new_pipe(), uv.new_pipe()
local handle, pid
handle, pid = uv.spawn("setpriv", {
  args = { "--pdeathsig", "KILL", table.unpack(arg, 2) },
  stdio = { 0, out, err },
}, function(status, signal)
  handle:close()
  exit_text, exit_ns = status .. " " .. signal, clock.now_ns()
  if open_pipes == 0 then return write_exit() end
  -- What it started may hold its pipes open for ever: its own end is told all the same.
  local timer = uv.new_timer()
  timer:start(LAST_WORDS_MS, 0, function()
    timer:close()
    write_exit()
  end)
end)
assert(handle, pid)
write("pid", pid)
follow(out, "out")
follow(err, "err")
uv.run()
