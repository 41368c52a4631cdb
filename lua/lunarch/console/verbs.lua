-- The verbs of the console: one table, from which the screen of `help`, the completion, and the sentence about a verb
-- that a world does not have are made. What each does in full is its annotation, in library/console.d.lua.
--
-- A row: name, how it is called, what it does as a phrase, and the worlds that may have it (nil: all of them).
require "lunarch.internal.args".is_ours()

local verbs = {}

local BREAKABLE = { lab = true, sim = true }
local SIM = { sim = true }

--- In the order of the screen of `help`.
verbs.groups = {
  {
    title = "looking",
    { "elections", "elections([prefix])", "the elections in etcd: who leads, who waits" },
    { "locks", "locks([prefix])", "the locks in etcd: who holds, who waits" },
    { "line", "line(name)", "every place in one line, in order" },
    { "members", "members()", "the members of etcd" },
    { "follow", "follow(name)", "print what happens in a line, as it happens" },
    { "unfollow", "unfollow([name])", "end follow(name), or all of them" },
    { "history", "history(name)", "who held it when, and how each term ended" },
  },
  {
    title = "standing",
    { "candidate", "candidate(name, who, {ttl=, script=, do_work=})", "stand in an election" },
    { "try", "try(name)", "lock if nobody holds it" },
    { "lock", "lock(name, seconds)", "wait for a lock" },
    { "leave", "leave([x])", "give up a lock, a place in a line, or all" },
    { "resign", "resign([x])", "end a term; the candidate waits behind the others" },
  },
  {
    title = "asking",
    { "switchover", "switchover(name[, who])", "ask the leader to hand over to another" },
    { "pause_line", "pause_line(name[, s])", "for s seconds no candidate takes over" },
    { "resume_line", "resume_line(name)", "end that pause" },
  },
  {
    title = "breaking",
    { "pause", "pause(x, s)", "stop the process of a candidate for s seconds", BREAKABLE },
    { "resume", "resume(x)", "let a candidate that is paused go on", BREAKABLE },
    { "kill", "kill(x)", "kill the process of a candidate: no handler runs", BREAKABLE },
    { "stop", "stop(x)", "stop a candidate in order", BREAKABLE },
    { "cut", "cut(x[, member])", "cut a candidate off from etcd, or from one member", BREAKABLE },
    { "slow", "slow(x, s)", "delay what it sends and receives by s seconds", BREAKABLE },
    { "heal", "heal()", "end every cut, delay and pause", BREAKABLE },
    { "freeze", "freeze(member, s)", "stop a member of etcd for s seconds", BREAKABLE },
    { "crash", "crash(member)", "kill a member of etcd", BREAKABLE },
    { "start", "start(x)", "start a member or a candidate again", BREAKABLE },
    { "revoke", "revoke(x)", "revoke the lease of a place" },
    { "fill", "fill()", "fill etcd's database (alarm NOSPACE)", BREAKABLE },
    { "skew", "skew(x, rate)", "let the clock of a candidate run at another rate", SIM },
  },
  {
    title = "time",
    { "run", "run(seconds)", "let time pass" },
    { "step", "step()", "go to the next event that is printed", SIM },
    { "back", "back(n)", "go back before the last n calls", SIM },
    { "seed", "seed(n)", "begin again with another seed", SIM },
    { "until_", "until_(fn)", "let time pass until fn() is true" },
  },
  {
    title = "keeping",
    { "timeline", "timeline([\"f.svg\"])", "who led when, as text or as a picture" },
    { "save", "save \"f.lua\"", "write what was done as an experiment", BREAKABLE },
    { "record", "record \"f.lua\"", "write what was typed as a script that runs" },
    { "help", "help(x)", "explain what has a name" },
  },
}

---@class lunarch.console.Verb
---@field name string
---@field usage string
---@field summary string
---@field worlds? table<string, boolean>

--- By name.
---@type table<string, lunarch.console.Verb>
verbs.by_name = {}

for _, group in ipairs(verbs.groups) do
  for i, row in ipairs(group) do
    local verb = { name = row[1], usage = row[2], summary = row[3], worlds = row[4] }
    group[i], verbs.by_name[verb.name] = verb, verb
  end
end

--- Whether a call that returned these values has failed: nil, a message and a code.
---@return boolean
function verbs.is_failure(value, message, code)
  return value == nil and type(message) == "string" and type(code) == "string"
end

--- Those that let time pass.
verbs.passes_time = { run = true, step = true, until_ = true }

local WHY = {
  cluster = "this is a real cluster, and others rely on it",
  dev = "the private etcd has one member, and the candidates are part of this process",
  script = "this is a real etcd, and the candidates are part of this program",
}
-- Of a verb, wherever time is real, or there is no lab.
local WHY_OF = {
  step = "real time does not wait for events", back = "real time does not go back",
  seed = "real processes follow no seed", skew = "all processes of a machine have one clock",
  save = "an experiment plays in a lab or in the simulator",
}

local WHERE = {
  [SIM] = "`lunarch console --sim` has it", [BREAKABLE] = "`lunarch console --lab` and `--sim` have it",
}

-- What may have been meant where candidates have no process of their own.
local INSTEAD = {
  pause = "pause_line(name)", resume = "resume_line(name)", stop = "leave(x)", save = 'record "f.lua"',
}

--- Whether a world has a verb.
---@param verb lunarch.console.Verb
---@param world string its name
---@return boolean
function verbs.exists(verb, world) return not verb.worlds or verb.worlds[world] or false end

--- Why a world does not have a verb, as one sentence.
---@param verb lunarch.console.Verb
---@param world lunarch.console.World
---@return string
function verbs.sentence_without(verb, world)
  local instead = INSTEAD[verb.name]
  return ("%s: not here, because %s; %s%s"):format(verb.name, WHY_OF[verb.name] or WHY[world.name],
    WHERE[verb.worlds] or "another world may have it", instead and ("; there is %s"):format(instead) or "")
end

return verbs
