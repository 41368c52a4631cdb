-- The worlds of the console: where its verbs act. Each is a module lunarch.console.worlds.NAME, loaded when it is asked
-- for, with
--
--   open(options) -> world      or nil, what is wrong, exit status. Waits. `options`: what the command line says
--                               (flags by name; candidates of `lunarch lab`: seed, ttl, members ...); options.log;
--                               options.ask(question) -> whether the user agrees, waits
--
-- and a world is a table: lunarch.console.World.
--
-- How a value prints at the prompt: an object with the metafield __console(self) -> string prints so; else tables as
-- tables, and what has __tostring by that.
require "lunarch.internal.args".is_ours()

---@class lunarch.console.World
---@field name "cluster"|"dev"|"lab"|"sim"|"script"
---@field banner string one line, printed at the beginning
--- "wall": the `at` of events is seconds since 1970, printed as the time of day; "world": seconds since the world
--- began, printed with three decimals.
---@field clock "wall"|"world"
---@field client table what looks read through: a client of lunarch, or the same calls in the simulator
--- A living one, opened when first needed. Waits.
---@field session fun(): table?, string?, string?
--- See verbs.lua. What is no verb of verbs.lua is no global.
---@field verbs table<string, function>
---@field globals? table<string, any> further globals, `world` or `sim` for example
--- Where the globals of what is typed are, if that is not _G: in the simulated world `lunarch` and `require` are its
--- own.
---@field env? table
--- Loads a module as this world has it. Default: the global `require`.
---@field require? fun(name: string): any
---@field prompt fun(): string? what stands before ">": "sim", "/jobs/nightly 7.1s in brackets"
--- From now on fn is called with each event, from the loop, never inside another call of fn.
---@field on_event fun(fn: fun(event: lunarch.console.Event))
--- Runs a chunk that was typed, in a task: returns what it returns, and raises what it raises. Real worlds just call
--- it. The simulator decides how time passes while the chunk waits.
---@field call fun(fn: function, ...: any): any
--- Ctrl-C while `call` runs in this task. Default: task:interrupt(err).
---@field interrupt? fun(task: lunarch.task, err: any)
--- What may be named in a call beside the names in etcd, for the completion: { "A" }.
---@field names? fun(): string[]
---@field describe? fun(value: any): string? a value of the world's own (a candidate) as a sentence, or nil
---@field timeline? fun(): table the lines of its timeline (lunarch.timeline)
--- Why no member of etcd answers, or nil: one does. Waits. Asked behind the first prompt.
---@field silence? fun(): string?
---@field command? fun(self: lunarch.console.World, path: string): string that plays an experiment of this world
---@field is_default? boolean nobody said where etcd is, so that a private one is offered when it is silent
--- Gives up what is held, ends what was started; returns the sentences that say so. Waits.
---@field close fun(seconds?: number): string[]?

---@class lunarch.console.Event
---@field at number seconds, by the clock of the world
---@field who? string
---@field what "elected"|"lost"|"leader"|"jeopardy"|"safe"|"joined"|"left"|"fault"|"say"
---@field text string what is printed
---@field level? "info"|"warn"|"error"

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
