-- Signals of the program: the first one is passed on in the loop, the second one ends the process (src/host/signals.c).
local args = require "lunarch.internal.args"
local exit = require "lunarch.cli.common.exit"
local host = require "lunarch.host"

args.is_ours()

local signals = {}

local SIGINT = 2

--- From now on the first signal calls `on_signal`, once, from the loop; it does not keep the loop alive.
--- With `on_taken`, a loop of cqueues' that a script runs itself hears of it, too: it calls that, and the candidates in
--- it end before the program.
---@param on_signal fun()
---@param on_taken? fun()
function signals.catch(on_signal, on_taken)
  local fd = assert(host.catch_signals())
  local poll = assert(require "luv".new_poll(fd))
  poll:start("r", function()
    poll:stop()
    on_signal()
  end)
  poll:unref()
  if not on_taken then return end
  require("lunarch.loop.cqueues").program_signals = {
    fd = fd,
    take = function()
      on_taken()
      return host.caught_signal()
    end,
    finish = function(number) os.exit(exit.SIGNAL + number) end,
  }
end

--- From now on SIGHUP calls `on_reload`, from the loop, each time, and does not stop the program.
---@param on_reload fun()
---@return table handle to be kept
function signals.catch_reloads(on_reload)
  local poll = assert(require "luv".new_poll(assert(host.catch_reloads())))
  poll:start("r", function()
    if host.take_reload() then on_reload() end
  end)
  poll:unref()
  return poll
end

--- From now on SIGHUP is one of the signals of signals.catch again.
---@return boolean is_asked there was one that on_reload was not called for, and will not be
function signals.end_reloads()
  host.end_reloads()
  return host.take_reload()
end

--- The number of the first signal, or nil.
---@type fun(): integer?
signals.caught = host.caught_signal

--- While libc waits for a command it ignores Ctrl-C: what ended the command was meant for us as well.
function signals.pass_interrupts_on()
  local execute = os.execute
  rawset(os, "execute", function(...)
    -- What was printed before comes before what the command prints.
    host.settle(0.1)
    local ok, how, number = execute(...)
    if how == "signal" and number == SIGINT or how == "exit" and number == 128 + SIGINT then
      require "luv".kill(host.pid(), SIGINT)
    end
    return ok, how, number
  end)
end

return signals
