-- The worlds of the console: where its verbs act. Each is a module lunarch.console.worlds.NAME, loaded when it is asked
-- for, with
--
--   open(options) -> world      or nil, what is wrong, exit status. Waits. `options`: what the command line says
--                               (flags by name; candidates of `lunarch lab`: seed, ttl, members ...); options.log;
--                               options.ask(question) -> whether the user agrees, waits
--
-- and a world is a table:
--
--   name              "cluster", "dev", "lab" or "sim"
--   banner            one line, printed at the beginning
--   clock             "wall": the `at` of events is seconds since 1970, printed as the time of day;
--                     "world": seconds since the world began, printed with three decimals
--   client            what looks read through: a client of lunarch, or the same calls in the simulator
--   session           a function () -> session, nil, message, code: a living one, opened when first needed
--   verbs             { name = function }: see verbs.lua. What is no verb of verbs.lua is no global
--   missing           { name = sentence }: why a verb does not exist here, where verbs.lua does not say it well
--   globals           optional: { name = value }: further globals, `world` or `sim` for example
--   prompt()          what stands before ">": "sim", "/jobs/nightly 7.1s in brackets", or nil
--   on_event(fn)      from now on fn is called with each event, from the loop, never inside another call of fn:
--                     { at =, who =, what = "elected" | "lost" | "leader" | "jeopardy" | "safe" | "joined" | "left" |
--                       "fault" | "say", text = what is printed, level = "info" | "warn" | "error" }
--   call(fn, ...)     runs a chunk that was typed, in a task: returns what it returns, and raises what it raises.
--                     Real worlds just call it. The simulator decides how time passes while the chunk waits
--   interrupt(task)   optional: Ctrl-C while `call` runs in this task; default: task:interrupt(error)
--   names()           optional: what may be named in a call beside the names in etcd, for the completion: { "A" }
--   describe(value)   optional: a value of the world's own (a candidate) as a sentence, or nil
--   timeline          optional: a function () -> the lines of its timeline (lunarch.timeline)
--   silence()         optional: why no member of etcd answers, or nil: one does. Waits. Asked behind the first prompt
--   is_default        optional: nobody said where etcd is, so that a private one is offered when it is silent
--   close(seconds)    gives up what is held, ends what was started; returns the sentences that say so. Waits
--
-- How a value prints at the prompt: an object with the metafield __console(self) -> string prints so; else tables as
-- tables, and what has __tostring by that.
require "lunarch.args".is_ours()

local world = {}

--- The names of the worlds, in the order of the manual page.
world.names = { "cluster", "dev", "lab", "sim" }

--- Opens a world by name: or nil, what is wrong, exit status. Waits.
---@param name string
---@param options table
---@return lunarch.console.World?, string?, integer?
function world.open(name, options)
  local ok, module = pcall(require, "lunarch.console.worlds." .. name)
  if not ok then return nil, ("the world '%s' cannot be loaded: %s"):format(name, module), 2 end
  return module.open(options)
end

return world
