---@meta _
-- luacheck: ignore 111 112 121 131 212 241 431
-- What a script finds under `lunarch sim`, for editors.

--- Facts for `check`, in world.notes. There is no `sim` outside of the simulator: `if sim then sim.add "written" end`.
---@class lunarch.sim
sim = {}

--- world.notes[name] = value: nil, a boolean, number, string, or a table of these.
---@param name string
---@param value any
function sim.note(name, value) end

--- Adds to world.notes[name].
---@param name string
---@param number? number Default: 1
function sim.add(name, number) end

--- No command is run in the simulator: `fn` says how each ends that lunarch.exec, os.execute (as "sh", "-c", text) or
--- io.popen begins. Without it, and where it returns nothing, a command succeeds after a random time, mostly a fraction
--- of a second. It must not wait. `if sim then sim.exec(function(command) return { after = 2, code = 0 } end) end`
---@param fn fun(command: string[], world: lunarch.sim_machine): lunarch.sim_command?
function sim.exec(fn) end

---@class lunarch.sim_command
---@field after? number seconds until it ends by itself. Default: random
---@field code? integer its exit status. Default: 0
---@field signal? integer the signal that ends it, in place of a status
---@field stdout? string
---@field stderr? string
---@field hangs? boolean it does not end by itself
---@field ignores_term? boolean SIGTERM does not end it, SIGKILL does
---@field is_missing? boolean there is no such program
---@field on_end? fun(world: lunarch.sim_machine, how: lunarch.sim_end) what it has changed

---@class lunarch.sim_end
---@field code? integer
---@field signal? integer
---@field cause integer 0: by itself, 1: its time was over, 2: its term, 3: it was cancelled

---@class lunarch.sim_machine
---@field now number seconds by the clock of the process
---@field phase "calm"|"faults"|"recovery"|"stopping"|"end" in "recovery" the faults are over: commands should not fail
---@field name string of the process: "A", "B" ...
---@field chance fun(per_mille: number): boolean by the seed
---@field random fun(least: number, most: number): number by the seed
---@field notes table<string, any> the same as check(world) sees, of all processes; to be read and set

--- Seconds by the clock of the process.
---@return number
function sim.now() end

--- A process that runs the script.
---@class lunarch.sim_candidate
---@field name string "A", "B" ...
---@field is_up boolean its process runs, or is paused
---@field is_paused boolean as by SIGSTOP
---@field leads boolean it has been elected, and its term lasts by its own clock
---@field is_elected boolean between the beginning of on_elected and the end of on_lost
---@field token integer? the fencing token, while is_elected
---@field handler string? the one that waits or runs now: "on_elected", "do_work" or "on_lost"
---@field election string? the one it stands in
---@field lives integer how often it was started
---@field now number seconds by the clock of its host, as lunarch.now() gives it there, whether it is up or not

--- What `check` is given.
---@class lunarch.sim_world
---@field now number seconds since the beginning
---@field phase "calm"|"faults"|"recovery"|"stopping"|"end"
---@field candidates lunarch.sim_candidate[]
---@field notes table<string, any>
local world = {}

--- The value of a key in etcd, as committed; nil: there is none.
---@param key string
---@return string?
function world:get(key) end

--- What is stored below a prefix, by key; each has key, value, create_revision, mod_revision, version.
---@param prefix? string
---@return table[]
function world:list(prefix) end

--- Defined by the script, before it waits for the first time. Called after every step of a history and at its end: an
--- error, or false and a reason, is what the history fails by.
---@param world lunarch.sim_world
function check(world) end
