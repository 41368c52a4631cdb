-- Publishes what candidates do to the program's own threads (src/host/facts.h): the watchdog, and the HTTP server.
local args = require "lunarch.internal.args"
local host = require "lunarch.host"
local log = require "lunarch.cli.log"

args.is_ours()

local facts = {}

-- Handlers of a term: the others run beside it.
local OF_A_TERM = { on_elected = true, do_work = true, on_lost = true }

-- What is said while a handler blocks the thread, in the order of src/host/facts.h.
local function lines_for(name)
  local is_utc
  local function line(level, text)
    local pattern
    pattern, is_utc = log.pattern(level, name, text)
    return pattern
  end
  return {
    line("warn", "@HANDLER@ goes on after the end of its term (@WHY@), and does not yield: @LEFT@ s until the place "
      .. "may be another's"),
    line("warn", "@HANDLER@ does not yield, so that on_lost cannot be called, though the term has ended (@WHY@): "
      .. "@LEFT@ s until the place may be another's"),
    line("error", "@HANDLER@ still goes on, and does not yield: another may lead now"),
    line("error", "@HANDLER@ still does not yield, and on_lost was not called: another may lead now"),
  }, is_utc
end

-- Tells the program which handler the thread runs, wherever its task is resumed.
local function watch_switches(tasks)
  if tasks.on_switch then return end
  local shown
  function tasks.on_switch(task)
    local handling = task and task.handling
    if handling == shown then return end
    shown = handling
    if handling then host.running(handling.fact, handling.name) else host.running(nil) end
  end
end

--- From now on what the candidate does is published. Its log lines have to bear candidate.name.
---@param candidate lunarch.candidate
---@param on_state fun() called when its state changes
function facts.publish(candidate, on_state)
  local tasks = require "lunarch.loop.task"
  local fact = host.new_fact(candidate.name, candidate.election_name, lines_for(candidate.name))
  watch_switches(tasks)
  local function set(name)
    return function(...) fact[name](fact, ...) end
  end
  candidate:_report_to {
    state = function(state)
      fact:state(state)
      on_state()
    end,
    entered = set "entered", ready = set "ready", over = set "over", left = set "left",
    failed = set "failed",
    client = function(client)
      if not client then return fact:client(nil) end
      fact:client(client._core, client._core:view())
    end,
    elected = function(term)
      local core = term._core
      local object, view = core:view()
      fact:elected(core, object, view, term.token)
    end,
    handler = function(name, began)
      if OF_A_TERM[name] then fact:handler(began and name or nil) end
      local task = tasks.current()
      if not task then return end
      task.handling = began and { fact = fact, name = name } or nil
      tasks.on_switch(task)
    end,
    may_say = function(what) return fact:may_say(what) end,
  }
end

return facts
